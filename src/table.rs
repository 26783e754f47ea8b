//! A hash table of indices whose keys live elsewhere: 4 bytes a slot and no owned keys; and names in one, as many as come.
//!
//! Open addressing, linear probing, at most two thirds full. The hash has no random key (the same table everywhere), so a
//! hostile file could aim for collisions: an insertion that has to look at too many slots is refused, which keeps loading
//! linear. With honest keys the longest probe in a table of a million is about 200.

use crate::error::{Error, Result, try_vec};

const EMPTY: u32 = u32::MAX;
const MAX_PROBES: usize = 1024;

/// Indices, found again by hash and a comparison that the caller makes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Table {
    slots: Vec<u32>,
}

impl Table {
    /// An empty table with room for `n` indices. `what` names the data in errors.
    pub(crate) fn new(n: usize, what: &str) -> Result<Self> {
        let n_slots = n.saturating_add(n / 2).saturating_add(1).checked_next_power_of_two().unwrap_or(usize::MAX);
        let mut slots = try_vec(n_slots, what)?;
        slots.resize(n_slots, EMPTY);
        Ok(Self { slots })
    }

    /// Puts `index` in, unless `same` says of an index with the same hash that it has the same key: that one is returned.
    pub(crate) fn insert(
        &mut self,
        hash: u64,
        index: u32,
        what: &str,
        same: impl Fn(u32) -> bool,
    ) -> Result<Option<u32>> {
        let mask = self.slots.len().wrapping_sub(1);
        for step in 0..MAX_PROBES {
            let at = (hash as usize).wrapping_add(step) & mask;
            match self.slots.get_mut(at) {
                Some(slot) if *slot == EMPTY => {
                    *slot = index;
                    return Ok(None);
                }
                Some(slot) if same(*slot) => return Ok(Some(*slot)),
                Some(_) => {}
                None => break,
            }
        }
        Err(Error::file(format!("{what}: the entries are made to collide in a hash table")))
    }

    /// The index with this hash of which `same` says that it has the key.
    pub(crate) fn find(&self, hash: u64, same: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().wrapping_sub(1);
        for step in 0..MAX_PROBES {
            match self.slots.get((hash as usize).wrapping_add(step) & mask) {
                None | Some(&EMPTY) => return None,
                Some(&index) if same(index) => return Some(index),
                Some(_) => {}
            }
        }
        None
    }
}

/// Numbers names as they come, and finds them again; whoever calls keeps them (`name_of`: the name of a number).
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Names {
    table: Table,
    n: usize,
    /// How many the table has room for.
    room: usize,
}

impl Names {
    /// The number of `name`.
    pub(crate) fn find<'a>(&self, name: &str, name_of: &dyn Fn(usize) -> Option<&'a str>) -> Option<usize> {
        let found = self.table.find(hash_bytes(name.as_bytes()), |i| name_of(i as usize) == Some(name));
        found.map(|i| i as usize)
    }

    /// Gives `name` the next number, and says whether it is new; one that has a number keeps it.
    pub(crate) fn insert<'a>(&mut self, name: &str, name_of: &dyn Fn(usize) -> Option<&'a str>) -> Result<bool> {
        const WHAT: &str = "names";
        if self.find(name, name_of).is_some() {
            return Ok(false);
        }
        if self.n == self.room {
            self.room = (2 * self.n).max(64);
            self.table = Table::new(self.room, WHAT)?;
            for i in 0..self.n {
                let hash = hash_bytes(name_of(i).unwrap_or_default().as_bytes());
                self.table.insert(hash, i as u32, WHAT, |_| false)?;
            }
        }
        self.table.insert(hash_bytes(name.as_bytes()), self.n as u32, WHAT, |_| false)?;
        self.n += 1;
        Ok(true)
    }
}

/// Hash of bytes: FNV-1a over eight bytes at a time, with a final mix because the low bits choose the slot.
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        hash = mix(hash ^ u64::from_le_bytes(word));
    }
    hash
}

/// Hash of a pair of ids.
pub(crate) fn hash_pair(left: u32, right: u32) -> u64 {
    mix(u64::from(left) << 32 | u64::from(right))
}

/// Every bit of the result depends on every bit of `x` (the finalizer of SplitMix64).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let keys: Vec<String> = (0..10_000).map(|i| format!("key {i}")).collect();
        let same = |key: &str| {
            let key = key.to_owned();
            let keys = &keys;
            move |i: u32| keys[i as usize] == key
        };
        let mut table = Table::new(keys.len(), "keys").unwrap();
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(table.insert(hash_bytes(key.as_bytes()), i as u32, "keys", same(key)).unwrap(), None);
        }
        assert_eq!(table.insert(hash_bytes(b"key 7"), 9, "keys", same("key 7")).unwrap(), Some(7));
        assert_eq!(table.find(hash_bytes(b"key 7"), same("key 7")), Some(7));
        assert_eq!(table.find(hash_bytes(b"key"), same("key")), None);
        assert_eq!(Table::default().find(0, |_| true), None);
    }

    #[test]
    fn names_are_numbered_once() {
        let (mut names, mut kept) = (Names::default(), Vec::<String>::new());
        for i in 0..10_000 {
            let name = format!("name {}", i % 7_001);
            let is_new = names.insert(&name, &|i| kept.get(i).map(|name| &**name)).unwrap();
            assert_eq!(is_new, i < 7_001, "{name}");
            if is_new {
                kept.push(name);
            }
        }
        let find = |name: &str| names.find(name, &|i| kept.get(i).map(|name| &**name));
        assert!((0..7_001).all(|i| find(&format!("name {i}")) == Some(i)));
        assert_eq!(find("name 7001"), None);
    }

    #[test]
    fn collisions_are_refused() {
        let mut table = Table::new(100_000, "keys").unwrap();
        let refused = (0..100_000).find_map(|i| table.insert(42, i, "keys", |_| false).err());
        assert!(refused.unwrap().to_string().contains("collide"));
    }
}
