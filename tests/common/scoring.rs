//! Requests to score texts, and what comes of them.

use super::short_llama::tokens;
use kinglet::{
    error::Result,
    session::{Event, ScoreGroup, ScoreRequest, Scored, Session, Span},
};

pub fn span(common: &[u32], rest: &[u32]) -> Span {
    Span { tokens: [common, rest].concat(), first: common.len() }
}

pub fn group(spans: Vec<Span>) -> ScoreGroup {
    ScoreGroup { source: vec![], spans }
}

/// Groups of every awkward shape, all with the same beginning of 40 tokens.
pub fn awkward() -> Vec<ScoreGroup> {
    let header = tokens(40, 1);
    let context = |n, seed| [&header[..], &tokens(n, seed)].concat();
    let (short, page, long) = (context(9, 2), context(24, 3), context(100, 4));
    let choices = |context: &[u32]| (5..9).map(|seed| span(context, &tokens(seed as usize - 4, seed))).collect();
    vec![
        group(choices(&short)),
        group(choices(&page)),
        // One span; single tokens; one that begins as another ends; the same twice.
        group(vec![span(&short, &tokens(12, 5))]),
        group((5..8).map(|seed| span(&short, &tokens(1, seed))).collect()),
        group(vec![span(&page, &tokens(3, 6)), span(&page, &tokens(9, 6)), span(&page, &tokens(3, 6))]),
        // The contexts differ and the ends are the same; scored from the middle of what is common; up to the last position.
        group(vec![
            span(&[&header[..], &tokens(2, 8)].concat(), &tokens(20, 9)),
            span(&[&header[..], &tokens(5, 9)].concat(), &tokens(20, 9)),
        ]),
        group(vec![
            Span { first: 41, ..span(&page, &tokens(2, 5)) },
            Span { first: 50, ..span(&page, &tokens(80, 5)) },
        ]),
        group(vec![span(&long, &tokens(20, 5)), span(&long, &tokens(20, 6)), span(&long, &tokens(2, 7))]),
    ]
}

pub fn request(groups: Vec<ScoreGroup>) -> ScoreRequest {
    ScoreRequest { groups }
}

/// Bits of the scores of a span, and whether greedy decoding would write it.
pub type Bits = (Vec<u64>, bool);

/// Runs a request to its end; the scores by group and span, and how many rows were computed.
pub fn run_scoring(
    session: &mut Session,
    request: &ScoreRequest,
    mut advance: impl FnMut(&mut Session) -> Result<Vec<Event>>,
) -> Result<(Vec<Vec<Bits>>, usize)> {
    let mut all: Vec<Vec<Option<Bits>>> = request.groups.iter().map(|g| vec![None; g.spans.len()]).collect();
    session.score(request.clone())?;
    loop {
        for event in advance(session)? {
            match event {
                Event::Scored(Scored { group, span, logprobs, is_greedy }) => {
                    let bits = logprobs.iter().map(|l| l.to_bits()).collect();
                    assert_eq!(all[group][span].replace((bits, is_greedy)), None, "a span is scored once");
                }
                Event::End(usage) => {
                    assert!(!session.is_busy());
                    let all = all.into_iter().map(|g| g.into_iter().map(|s| s.expect("every span")).collect());
                    return Ok((all.collect(), usage.prompt_tokens));
                }
                other => panic!("{other:?} while scoring"),
            }
        }
    }
}
