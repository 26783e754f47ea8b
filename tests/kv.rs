//! The cache's book against a model that has no pages: each sequence is a list of tokens. What a sequence reads through its
//! pages must be its list, whatever happened before.

#![cfg(not(target_arch = "wasm32"))]

use std::collections::BTreeSet;

use kinglet::{
    error::Error,
    kv::{Kv, KvGeometry, PAGE_POSITIONS, PageId, SequenceId},
};
use proptest::prelude::*;

const CONTEXT: usize = 200;
const MAX_PAGES: usize = 9;

#[derive(Debug, Clone)]
enum Action {
    Create,
    Fork(usize),
    Append(usize, usize),
    Truncate(usize, usize),
    Release(usize),
}

/// The book, the pages that it speaks of (a token per position), and the truth.
struct World {
    kv: Kv,
    pages: Vec<[u32; PAGE_POSITIONS]>,
    truth: Vec<(SequenceId, Vec<u32>)>,
    next_token: u32,
    carries_out_copies: bool,
}

impl World {
    fn new() -> Self {
        let kv = Kv::new(CONTEXT, MAX_PAGES);
        Self { kv, pages: vec![], truth: vec![], next_token: 1, carries_out_copies: true }
    }

    /// Does what is asked, and checks everything.
    fn act(&mut self, action: &Action) -> Result<(), String> {
        let pick = |i: usize| (!self.truth.is_empty()).then(|| i % self.truth.len());
        match *action {
            Action::Create => self.truth.push((self.kv.create(), vec![])),
            Action::Fork(i) => {
                let Some(i) = pick(i) else { return Ok(()) };
                let (id, tokens) = self.truth[i].clone();
                self.truth.push((self.kv.fork(id).map_err(|e| e.to_string())?, tokens));
            }
            Action::Append(i, n) => {
                let Some(i) = pick(i) else { return Ok(()) };
                self.append(i, n)?;
            }
            Action::Truncate(i, position) => {
                let Some(i) = pick(i) else { return Ok(()) };
                let position = position % (self.truth[i].1.len() + 1);
                self.kv.truncate(self.truth[i].0, position).map_err(|e| e.to_string())?;
                self.truth[i].1.truncate(position);
            }
            Action::Release(i) => {
                let Some(i) = pick(i) else { return Ok(()) };
                let (id, _) = self.truth.remove(i);
                self.kv.release(id).map_err(|e| e.to_string())?;
                if self.kv.len(id).is_ok() {
                    return Err("a released sequence is still there".into());
                }
            }
        }
        self.check()
    }

    fn append(&mut self, i: usize, n: usize) -> Result<(), String> {
        let (id, len) = (self.truth[i].0, self.truth[i].1.len());
        let pages_before = self.kv.pages(id).map_err(|e| e.to_string())?.to_vec();
        let used_before = self.used_pages().len();
        let is_shared =
            |page: &PageId| self.truth.iter().filter(|(id, _)| self.kv.pages(*id).unwrap().contains(page)).count() > 1;
        let copies_one = n > 0 && len % PAGE_POSITIONS != 0 && pages_before.last().is_some_and(is_shared);
        let new_pages = (len + n).div_ceil(PAGE_POSITIONS) - pages_before.len() + usize::from(copies_one);
        let fits = len + n <= CONTEXT && used_before + new_pages <= MAX_PAGES;

        match self.kv.append(id, n) {
            Ok(_) if !fits => Err("an append succeeded that does not fit".into()),
            Err(Error::ContextOverflow { requested_tokens, available_tokens }) if !fits => {
                let same = self.kv.len(id) == Ok(len) && self.kv.pages(id) == Ok(&pages_before[..]);
                let says_why = requested_tokens == len + n && available_tokens < requested_tokens;
                if same && says_why {
                    Ok(())
                } else {
                    Err("a failed append left traces, or its numbers are wrong".into())
                }
            }
            Err(error) => Err(error.to_string()),
            Ok(copies) if copies.len() != usize::from(copies_one) => Err(format!("copies {copies:?}")),
            Ok(copies) => {
                self.pages.resize(self.kv.n_pages(), [0; PAGE_POSITIONS]);
                for copy in copies.iter().filter(|_| self.carries_out_copies) {
                    let from = self.pages[copy.from.0 as usize];
                    self.pages[copy.to.0 as usize] = [0; PAGE_POSITIONS];
                    self.pages[copy.to.0 as usize][..copy.n_positions].copy_from_slice(&from[..copy.n_positions]);
                }
                self.write(i, n)
            }
        }
    }

    /// Writes the next tokens where the book says; no other sequence may have those pages.
    fn write(&mut self, i: usize, n: usize) -> Result<(), String> {
        let (id, start) = (self.truth[i].0, self.truth[i].1.len());
        let pages = self.kv.pages(id).map_err(|e| e.to_string())?.to_vec();
        for position in start..start + n {
            let page = pages[position / PAGE_POSITIONS];
            if self.truth.iter().any(|(other, _)| *other != id && self.kv.pages(*other).unwrap().contains(&page)) {
                return Err(format!("page {page:?} is written and shared"));
            }
            self.pages[page.0 as usize][position % PAGE_POSITIONS] = self.next_token;
            self.truth[i].1.push(self.next_token);
            self.next_token += 1;
        }
        Ok(())
    }

    fn used_pages(&self) -> BTreeSet<PageId> {
        self.truth.iter().flat_map(|(id, _)| self.kv.pages(*id).unwrap().to_vec()).collect()
    }

    fn check(&self) -> Result<(), String> {
        for (id, tokens) in &self.truth {
            let pages = self.kv.pages(*id).map_err(|e| e.to_string())?;
            if self.kv.len(*id) != Ok(tokens.len()) || pages.len() != KvGeometry::pages_for(tokens.len()) {
                return Err(format!("{id:?}: {:?} positions, {} pages", self.kv.len(*id), pages.len()));
            }
            let read = |p: usize| self.pages[pages[p / PAGE_POSITIONS].0 as usize][p % PAGE_POSITIONS];
            if let Some(p) = (0..tokens.len()).find(|p| read(*p) != tokens[*p]) {
                return Err(format!("{id:?}: position {p} reads {}, expected {}", read(p), tokens[p]));
            }
        }
        let used = self.used_pages().len();
        if used + self.kv.free_pages() != MAX_PAGES || self.kv.n_pages() > MAX_PAGES {
            return Err(format!("{used} pages used, {} free, of {MAX_PAGES}", self.kv.free_pages()));
        }
        Ok(())
    }
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => Just(Action::Create),
        3 => any::<usize>().prop_map(Action::Fork),
        8 => (any::<usize>(), prop_oneof![0..4_usize, 0..90_usize, Just(PAGE_POSITIONS)]).prop_map(|(i, n)| Action::Append(i, n)),
        4 => (any::<usize>(), any::<usize>()).prop_map(|(i, n)| Action::Truncate(i, n)),
        1 => any::<usize>().prop_map(Action::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn sequences_read_what_they_wrote(actions in prop::collection::vec(action(), 1..60)) {
        let mut world = World::new();
        for action in &actions {
            if let Err(what) = world.act(action) {
                prop_assert!(false, "{:?}: {}", action, what);
            }
        }
    }
}

/// The checker sees a copy that was not carried out.
#[test]
fn the_checker_fails_without_the_copies() {
    let script = [Action::Create, Action::Append(0, 10), Action::Fork(0), Action::Append(1, 1)];
    let run = |carries_out_copies| {
        let mut world = World { carries_out_copies, ..World::new() };
        script.iter().try_for_each(|action| world.act(action))
    };
    assert_eq!(run(true), Ok(()));
    assert!(run(false).is_err_and(|what| what.contains("position 0 reads")));
}

#[test]
fn a_fork_shares_pages_until_it_writes() {
    let mut kv = Kv::new(256, 8);
    let a = kv.create();
    kv.append(a, 94).unwrap();
    let b = kv.fork(a).unwrap();
    assert_eq!(kv.pages(a).unwrap(), kv.pages(b).unwrap());
    assert_eq!(kv.n_pages(), 2);

    let copies = kv.append(b, 3).unwrap();
    assert_eq!(copies.len(), 1);
    assert_eq!((copies[0].from, copies[0].to, copies[0].n_positions), (PageId(1), PageId(2), 30));
    assert_eq!(kv.pages(b).unwrap(), [PageId(0), PageId(2)]);
    assert_eq!(kv.append(a, 1).unwrap(), [], "the page is a's alone now");
    assert_eq!((kv.len(a).unwrap(), kv.len(b).unwrap()), (95, 97));
}

#[test]
fn a_fork_at_a_page_border_copies_nothing() {
    let mut kv = Kv::new(256, 8);
    let a = kv.create();
    kv.append(a, PAGE_POSITIONS).unwrap();
    let b = kv.fork(a).unwrap();
    assert_eq!(kv.append(b, 1).unwrap(), []);
    assert_eq!(kv.pages(b).unwrap(), [PageId(0), PageId(1)]);
}

#[test]
fn overflow_says_what_there_is() {
    let mut kv = Kv::new(100, 2);
    let a = kv.create();
    let overflow =
        |requested_tokens, available_tokens| Err(Error::ContextOverflow { requested_tokens, available_tokens });
    assert_eq!(kv.append(a, 101).map(|_| ()), overflow(101, 100));
    assert_eq!(kv.append(a, usize::MAX).map(|_| ()), overflow(usize::MAX, 100));
    kv.append(a, 60).unwrap();
    let b = kv.create();
    kv.append(b, 64).unwrap();
    assert_eq!(kv.append(b, 1).map(|_| ()), overflow(65, 64), "a holds the other page");
    kv.release(a).unwrap();
    assert_eq!(kv.append(b, 1), Ok(vec![]));
}

#[test]
fn misuse_is_an_error() {
    let mut kv = Kv::new(100, 2);
    let a = kv.create();
    assert!(matches!(kv.truncate(a, 1), Err(Error::Internal { .. })));
    kv.release(a).unwrap();
    assert!(matches!(kv.release(a), Err(Error::Internal { .. })));
    assert!(matches!(kv.fork(a), Err(Error::Internal { .. })));
    assert!(matches!(kv.append(a, 1), Err(Error::Internal { .. })));
}

#[test]
fn pages_given_back_are_used_again() {
    let mut kv = Kv::new(640, 10);
    for _ in 0..5 {
        let id = kv.create();
        kv.append(id, 130).unwrap();
        kv.release(id).unwrap();
    }
    assert_eq!(kv.n_pages(), 3);
}
