//! Where in a module that is written what the given one calls by its places is.

use std::{collections::BTreeMap, convert::Infallible};

use anyhow::anyhow;
use wasm_encoder::reencode::{Error, Reencode};

/// New places of functions; of globals and tables, too, where those are not as they were.
pub struct Places {
    functions: BTreeMap<u32, u32>,
    n_functions: u32,
    /// By their new places; empty: all as they were.
    pub globals: Vec<u32>,
    pub tables: Vec<u32>,
}

impl Places {
    /// `functions`: old places, in the new order.
    pub fn new(functions: impl Iterator<Item = u32>) -> Self {
        let mut places = Self { functions: BTreeMap::new(), n_functions: 0, globals: vec![], tables: vec![] };
        places.add_functions(functions);
        places
    }

    pub fn add_functions(&mut self, functions: impl Iterator<Item = u32>) {
        for function in functions {
            self.functions.insert(function, self.n_functions);
            self.n_functions += 1;
        }
    }

    /// The next place is of a function that the given module does not have.
    pub fn skip_function(&mut self) {
        self.n_functions += 1;
    }
}

type Reencoded = Result<u32, Error<Infallible>>;

impl Reencode for Places {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Reencoded {
        Ok(self.functions[&function])
    }

    fn global_index(&mut self, global: u32) -> Reencoded {
        Ok(new_place(&self.globals, global))
    }

    fn table_index(&mut self, table: u32) -> Reencoded {
        Ok(new_place(&self.tables, table))
    }
}

fn new_place(moved: &[u32], old: u32) -> u32 {
    moved.iter().position(|one| *one == old).map_or(old, |i| i as u32)
}

pub fn plain(error: Error<Infallible>) -> anyhow::Error {
    anyhow!("{error}")
}
