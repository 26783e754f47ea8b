//! In which order functions take fewest bytes when compressed: DEFLATE finds again what stands at most 32 KB before.

use std::collections::{HashMap, VecDeque};

/// What is looked for, in bytes.
const PIECES: [usize; 3] = [4, 6, 9];
/// How far back a piece is found again.
const WINDOW: usize = 30_000;
/// A piece of more functions tells none from the others.
const COMMON: usize = 100;
/// One of fewer counts as much as three.
const RARE: usize = 16;

/// Places in `functions` (their bytes), each followed by the one that shares most with the last [`WINDOW`] bytes, in relation to its
/// size.
pub fn order(functions: &[&[u8]]) -> Vec<usize> {
    let (pieces, owners) = pieces(functions);
    let mut shared = vec![0_u32; functions.len()];
    let mut in_window = vec![0_u32; owners.len()];
    let mut window = VecDeque::new();
    let mut window_bytes = 0;
    let mut left: Vec<usize> = (0..functions.len()).collect();
    let mut ordered = Vec::with_capacity(functions.len());
    while !left.is_empty() {
        let at = best(&left, &shared, &pieces);
        let next = left.remove(at);
        ordered.push(next);
        window.push_back(next);
        window_bytes += functions[next].len();
        for &piece in &pieces[next] {
            in_window[piece] += 1;
            if in_window[piece] == 1 {
                owners[piece].iter().for_each(|&owner| shared[owner] += worth(&owners[piece]));
            }
        }
        while window_bytes > WINDOW && window.len() > 1 {
            let Some(last) = window.pop_front() else { break };
            window_bytes -= functions[last].len();
            for &piece in &pieces[last] {
                in_window[piece] -= 1;
                if in_window[piece] == 0 {
                    owners[piece].iter().for_each(|&owner| shared[owner] -= worth(&owners[piece]));
                }
            }
        }
    }
    ordered
}

/// What a piece of these functions counts.
fn worth(owners: &[usize]) -> u32 {
    if owners.len() < RARE { 3 } else { 1 }
}

/// The place in `left` of the function with the largest share.
fn best(left: &[usize], shared: &[u32], pieces: &[Vec<usize>]) -> usize {
    // By the size to the power of 7/8, of square roots, which are the same everywhere.
    let share = |&function: &usize| {
        let size = (pieces[function].len() + 20) as f64;
        f64::from(shared[function]) / size * size.sqrt().sqrt().sqrt()
    };
    let mut found = (0, -1.0);
    for (at, function) in left.iter().enumerate() {
        let share = share(function);
        if share > found.1 {
            found = (at, share);
        }
    }
    found.0
}

/// The pieces of each function, and the functions of each piece that more than one has.
fn pieces(functions: &[&[u8]]) -> (Vec<Vec<usize>>, Vec<Vec<usize>>) {
    let mut numbers = HashMap::new();
    let mut owners: Vec<Vec<usize>> = vec![];
    let mut pieces = vec![];
    for (function, bytes) in functions.iter().enumerate() {
        let mut own = vec![];
        for piece in PIECES.into_iter().flat_map(|n_bytes| bytes.windows(n_bytes)) {
            let number = *numbers.entry(piece).or_insert(owners.len());
            if number == owners.len() {
                owners.push(vec![]);
            }
            if owners[number].last() != Some(&function) {
                owners[number].push(function);
                own.push(number);
            }
        }
        pieces.push(own);
    }
    for owners in &mut owners {
        if owners.len() == 1 || owners.len() > COMMON {
            owners.clear();
        }
    }
    (pieces, owners)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_stands_together() {
        let bytes = |seed: u32| (0..40).map(|i| (seed * 91 + i * seed * 7) as u8).collect::<Vec<u8>>();
        let [a, b, c] = [1, 3, 5].map(bytes);
        let [like_a, like_b] = [&a, &b].map(|one| [one.as_slice(), &[9, 9]].concat());
        assert_eq!(order(&[&c, &a, &b, &like_b, &like_a]), [0, 1, 4, 2, 3]);
    }
}
