//! Maps and sets in the order of their keys, as sorted vectors. Every kind of a B-tree is kilobytes of code; what the engine
//! keeps are tens or hundreds of entries, seldom changed. Not for as many as a file says: to insert moves what comes after.

/// Values by keys.
#[derive(Debug, Clone)]
pub(crate) struct SortedMap<K, V>(Vec<(K, V)>);

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self(vec![])
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    fn place(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(k, _)| k.cmp(key))
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.place(key).ok().map(|i| &self.0[i].1)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.place(key).ok().map(|i| &mut self.0[i].1)
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.place(key).is_ok()
    }

    /// Gives back the value that was there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(i) => Some(std::mem::replace(&mut self.0[i].1, value)),
            Err(i) => {
                self.0.insert(i, (key, value));
                None
            }
        }
    }

    /// The value that is there, or is put there now.
    pub(crate) fn get_or_insert_with(&mut self, key: K, value: impl FnOnce() -> V) -> &mut V {
        let i = self.place(&key).unwrap_or_else(|i| {
            self.0.insert(i, (key, value()));
            i
        });
        &mut self.0[i].1
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.place(key).ok().map(|i| self.0.remove(i).1)
    }
}

impl<K, V> SortedMap<K, V> {
    /// In the order of the keys.
    pub(crate) fn entries(&self) -> &[(K, V)] {
        &self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn retain(&mut self, keeps: impl Fn(&K, &V) -> bool) {
        self.0.retain(|(k, v)| keeps(k, v));
    }
}

/// What only the executor on devices and the reference ask for.
#[cfg(any(feature = "gpu", feature = "reference"))]
impl<K, V> SortedMap<K, V> {
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, v)| v)
    }
}

/// What only the executor on devices asks for.
#[cfg(feature = "gpu")]
impl<K, V> SortedMap<K, V> {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(k, _)| k)
    }

    pub(crate) fn into_entries(self) -> Vec<(K, V)> {
        self.0
    }
}

/// Of equal keys the last one stays.
impl<K: Ord, V> FromIterator<(K, V)> for SortedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        entries.into_iter().for_each(|(k, v)| drop(map.insert(k, v)));
        map
    }
}

/// Keys without values.
#[cfg(feature = "gpu")]
pub(crate) type SortedSet<K> = SortedMap<K, ()>;

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn does_what_a_b_tree_does() {
        let (mut ours, mut theirs) = (SortedMap::default(), BTreeMap::new());
        let mut state = 7_u32;
        for step in 0..5000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = (state >> 8) % 40;
            match state >> 29 {
                0..3 => assert_eq!(ours.insert(key, step), theirs.insert(key, step), "step {step}"),
                3..5 => assert_eq!(ours.remove(&key), theirs.remove(&key), "step {step}"),
                5 => {
                    assert_eq!(ours.get_or_insert_with(key, || step), theirs.entry(key).or_insert(step), "step {step}")
                }
                6 => assert_eq!(ours.get_mut(&key), theirs.get_mut(&key), "step {step}"),
                _ => {
                    ours.retain(|k, _| k % 7 != key % 7);
                    theirs.retain(|k, _| k % 7 != key % 7);
                }
            }
            assert_eq!(
                (ours.get(&key), ours.contains(&key)),
                (theirs.get(&key), theirs.contains_key(&key)),
                "step {step}"
            );
            assert!(ours.keys().eq(theirs.keys()) && ours.values().eq(theirs.values()), "step {step}");
        }
        assert_eq!((ours.len(), ours.into_entries()), (theirs.len(), theirs.into_iter().collect()));
    }

    #[test]
    fn of_equal_keys_the_last_stays() {
        let map: SortedMap<_, _> = [(2, 'a'), (1, 'b'), (2, 'c')].into_iter().collect();
        assert_eq!(map.into_entries(), [(1, 'b'), (2, 'c')]);
    }
}
