//! What has to be known of a module to split it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use wasmparser::{
    ElementItems, ExternalKind, FuncType, FunctionBody, GlobalType, MemoryType, Operator, Parser, Payload, RefType,
    TableType, TypeRef,
};

/// The exported function that a stub calls before the second module is there.
const LOAD_LATER: &str = "load_later";

pub struct Module<'a> {
    pub bytes: &'a [u8],
    /// By their places; the splitter knows no other types than those of functions.
    pub types: Vec<FuncType>,
    pub n_imported_functions: u32,
    /// The types of all functions, imported ones first.
    pub function_types: Vec<u32>,
    pub bodies: Vec<FunctionBody<'a>>,
    pub globals: Vec<GlobalType>,
    pub tables: Vec<TableType>,
    pub memory: MemoryType,
    /// The table of what is called by pointers.
    pub function_table: u32,
    pub load_later: u32,
    /// What is exported, or called by a pointer.
    pub named: BTreeSet<u32>,
}

impl<'a> Module<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let (mut types, mut function_types, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
        let (mut globals, mut tables) = (Vec::new(), Vec::new());
        let mut named = BTreeSet::new();
        let (mut memory, mut load_later, mut n_imported_functions) = (None, None, 0);
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        types.push(ty?);
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        match import?.ty {
                            TypeRef::Func(ty) => {
                                function_types.push(ty);
                                n_imported_functions += 1;
                            }
                            TypeRef::Memory(ty) => memory = Some(ty),
                            other => bail!("an import of another kind: {other:?}"),
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        function_types.push(ty?);
                    }
                }
                Payload::TableSection(section) => {
                    for table in section {
                        tables.push(table?.ty);
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        globals.push(global?.ty);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            named.insert(export.index);
                            if export.name == LOAD_LATER {
                                load_later = Some(export.index);
                            }
                        }
                    }
                }
                Payload::StartSection { func, .. } => {
                    named.insert(func);
                }
                Payload::ElementSection(section) => {
                    for element in section {
                        match element?.items {
                            ElementItems::Functions(functions) => {
                                for function in functions {
                                    named.insert(function?);
                                }
                            }
                            ElementItems::Expressions(..) => bail!("elements of another kind"),
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => bodies.push(body),
                _ => {}
            }
        }
        let function_table = tables.iter().position(|table| table.element_type == RefType::FUNCREF);
        Ok(Self {
            bytes,
            types,
            n_imported_functions,
            function_types,
            bodies,
            globals,
            memory: memory.context("the module imports no memory")?,
            function_table: function_table.context("the module has no table of functions")? as u32,
            tables,
            named,
            load_later: load_later.with_context(|| format!("the module exports no {LOAD_LATER}"))?,
        })
    }

    pub fn n_functions(&self) -> u32 {
        self.function_types.len() as u32
    }

    /// The body of the function at this place, which must not be an imported one.
    pub fn body(&self, function: u32) -> Result<&FunctionBody<'a>> {
        let own = function.checked_sub(self.n_imported_functions);
        own.and_then(|own| self.bodies.get(own as usize)).with_context(|| format!("function {function} has no body"))
    }
}

/// What a function calls, or makes a pointer of.
pub fn functions_called(body: &FunctionBody<'_>) -> Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    for operator in body.get_operators_reader()? {
        if let Operator::Call { function_index }
        | Operator::ReturnCall { function_index }
        | Operator::RefFunc { function_index } = operator?
        {
            found.insert(function_index);
        }
    }
    Ok(found)
}

/// What the code of a function names. Fails on what a module that is fetched later cannot have.
#[derive(Default)]
pub struct Uses {
    pub functions: Vec<u32>,
    pub globals: Vec<u32>,
    pub tables: Vec<u32>,
}

impl Uses {
    pub fn need_table(&mut self, table: u32) {
        self.tables.push(table);
        self.tables.sort_unstable();
        self.tables.dedup();
    }

    pub fn add(&mut self, body: &FunctionBody<'_>) -> Result<()> {
        for operator in body.get_operators_reader()? {
            match operator? {
                Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                    self.functions.push(function_index)
                }
                Operator::GlobalGet { global_index } | Operator::GlobalSet { global_index } => {
                    self.globals.push(global_index)
                }
                Operator::CallIndirect { table_index, .. }
                | Operator::ReturnCallIndirect { table_index, .. }
                | Operator::TableGet { table: table_index }
                | Operator::TableSet { table: table_index }
                | Operator::TableGrow { table: table_index }
                | Operator::TableSize { table: table_index }
                | Operator::TableFill { table: table_index } => self.tables.push(table_index),
                refused @ (Operator::RefFunc { .. }
                | Operator::MemoryInit { .. }
                | Operator::DataDrop { .. }
                | Operator::TableInit { .. }
                | Operator::ElemDrop { .. }
                | Operator::TableCopy { .. }) => bail!("{refused:?} cannot be moved"),
                _ => {}
            }
        }
        for list in [&mut self.functions, &mut self.globals, &mut self.tables] {
            list.sort_unstable();
            list.dedup();
        }
        Ok(())
    }
}
