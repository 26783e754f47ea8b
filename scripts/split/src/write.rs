//! The two modules.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use anyhow::{Context, Result, anyhow};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ElementSection, Elements, EntityType, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, ImportSection, Module as Encoded, RawSection, StartSection,
    TableSection, TableType, TypeSection, ValType,
    reencode::{Reencode, RoundtripReencoder},
};
use wasmparser::{Parser, Payload};

use crate::module::{Module, Uses, functions_called};

/// The name under which the second module imports what the first exports.
const FIRST: &str = "first";

pub struct Split {
    pub first: Vec<u8>,
    pub later: Vec<u8>,
    pub n_moved: usize,
}

/// `is_moved`: for each function. Imported ones and the one that stubs call stay whatever it says.
pub fn split(module: &Module<'_>, is_moved: &[bool]) -> Result<Split> {
    let stays = |function: u32| function < module.n_imported_functions || function == module.load_later;
    let moved: Vec<u32> = (0..module.n_functions()).filter(|&f| is_moved[f as usize] && !stays(f)).collect();
    let mut uses = Uses::default();
    for &function in &moved {
        uses.add(module.body(function).context("no body")?)?;
    }
    let mut called = module.named.clone();
    for function in (0..module.n_functions()).filter(|f| moved.binary_search(f).is_err()) {
        if let Some(body) = module.body(function) {
            called.extend(functions_called(body)?);
        }
    }
    uses.functions.retain(|f| moved.binary_search(f).is_err());
    if uses.tables.binary_search(&module.function_table).is_err() {
        uses.tables.push(module.function_table);
        uses.tables.sort_unstable();
    }
    let plan = Plan {
        module,
        called,
        moved,
        uses,
        table_base: u32::try_from(module.tables[module.function_table as usize].initial)?,
        is_there: format!("later-{:016x}", fingerprint(module.bytes)),
    };
    Ok(Split { first: plan.first()?, later: plan.later()?, n_moved: plan.moved.len() })
}

struct Plan<'a> {
    module: &'a Module<'a>,
    moved: Vec<u32>,
    /// By the first module, or from outside.
    called: BTreeSet<u32>,
    /// Of the first module, by the second.
    uses: Uses,
    /// Where in the table those that are moved begin.
    table_base: u32,
    /// The name of the global that says whether the second module is there. It belongs to these two alone: a second module of another
    /// build does not find it.
    is_there: String,
}

impl Plan<'_> {
    fn first(&self) -> Result<Vec<u8>> {
        let mut out = Encoded::new();
        let raw = |id, range: std::ops::Range<usize>| RawSection { id, data: &self.module.bytes[range] };
        for payload in Parser::new(0).parse_all(self.module.bytes) {
            match payload? {
                Payload::TableSection(section) => out.section(&self.tables(section)?),
                Payload::GlobalSection(section) => out.section(&self.globals(section)?),
                Payload::ExportSection(section) => out.section(&self.exports(section)?),
                Payload::CodeSectionStart { .. } => out.section(&self.first_code()?),
                Payload::CodeSectionEntry(_) => continue,
                other => match other.as_section() {
                    Some((id, range)) => out.section(&raw(id, range.start as usize..range.end as usize)),
                    None => continue,
                },
            };
        }
        Ok(out.finish())
    }

    fn tables(&self, section: wasmparser::TableSectionReader<'_>) -> Result<TableSection> {
        let mut tables = TableSection::new();
        for (i, table) in section.into_iter().enumerate() {
            tables.table(self.table_type(i as u32, table?.ty)?);
        }
        Ok(tables)
    }

    /// That of functions has room for those that are moved.
    fn table_type(&self, table: u32, ty: wasmparser::TableType) -> Result<TableType> {
        let mut ty = RoundtripReencoder.table_type(ty).map_err(plain)?;
        if table == self.module.function_table {
            let n = self.moved.len() as u64;
            ty.minimum += n;
            ty.maximum = ty.maximum.map(|most| most + n);
        }
        Ok(ty)
    }

    fn globals(&self, section: wasmparser::GlobalSectionReader<'_>) -> Result<GlobalSection> {
        let mut globals = GlobalSection::new();
        RoundtripReencoder.parse_global_section(&mut globals, section).map_err(plain)?;
        globals.global(FLAG, &ConstExpr::i32_const(0));
        Ok(globals)
    }

    fn exports(&self, section: wasmparser::ExportSectionReader<'_>) -> Result<ExportSection> {
        let mut exports = ExportSection::new();
        RoundtripReencoder.parse_export_section(&mut exports, section).map_err(plain)?;
        exports.export(&short("m", 0), ExportKind::Memory, 0);
        exports.export(&self.is_there, ExportKind::Global, self.module.globals.len() as u32);
        for (kind, letter, places) in [
            (ExportKind::Table, "t", &self.uses.tables),
            (ExportKind::Global, "g", &self.uses.globals),
            (ExportKind::Func, "f", &self.uses.functions),
        ] {
            for (i, &place) in places.iter().enumerate() {
                exports.export(&short(letter, i), kind, place);
            }
        }
        Ok(exports)
    }

    fn first_code(&self) -> Result<CodeSection> {
        let mut code = CodeSection::new();
        let mut moved = self.moved.iter().enumerate().peekable();
        for (i, body) in self.module.bodies.iter().enumerate() {
            let function = self.module.n_imported_functions + i as u32;
            match moved.next_if(|&(_, &one)| one == function) {
                Some((place, _)) => code.function(&self.stub(function, self.table_base + place as u32)),
                None => code.raw(body.as_bytes()),
            };
        }
        Ok(code)
    }

    fn stub(&self, function: u32, place: u32) -> Function {
        let ty = self.module.function_types[function as usize];
        let mut stub = Function::new([]);
        let mut code = stub.instructions();
        if !self.called.contains(&function) {
            code.unreachable().end();
            return stub;
        }
        code.global_get(self.module.globals.len() as u32)
            .i32_eqz()
            .if_(BlockType::Empty)
            .call(self.module.load_later)
            .end();
        for i in 0..self.module.types[ty as usize].params().len() as u32 {
            code.local_get(i);
        }
        code.i32_const(place as i32).call_indirect(self.module.function_table, ty).end();
        stub
    }

    fn later(&self) -> Result<Vec<u8>> {
        let module = self.module;
        let mut types = TypeSection::new();
        for ty in &module.types {
            types.ty().func_type(&RoundtripReencoder.func_type(ty.clone()).map_err(plain)?);
        }
        types.ty().function([], []);
        let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
        let mut places = Places::new(self);
        for &function in &self.moved {
            functions.function(module.function_types[function as usize]);
            places.parse_function_body(&mut code, module.body(function).context("no body")?.clone()).map_err(plain)?;
        }
        functions.function(module.types.len() as u32);
        code.function(&self.start());
        let n_imported = self.uses.functions.len() as u32;
        let n_moved = self.moved.len() as u32;
        let own: Vec<u32> = (n_imported..n_imported + n_moved).collect();
        let mut elements = ElementSection::new();
        let table = places.tables[&module.function_table];
        elements.active(Some(table), &ConstExpr::i32_const(self.table_base as i32), Elements::Functions(own.into()));
        let mut out = Encoded::new();
        out.section(&types).section(&self.imports()?).section(&functions);
        out.section(&StartSection { function_index: n_imported + n_moved }).section(&elements).section(&code);
        Ok(out.finish())
    }

    /// The memory stands first: where a page gets none that is shared, the import is changed (www/pkg/src/unshared.ts).
    fn imports(&self) -> Result<ImportSection> {
        let module = self.module;
        let mut imports = ImportSection::new();
        imports.import(
            FIRST,
            &short("m", 0),
            EntityType::Memory(RoundtripReencoder.memory_type(module.memory).map_err(plain)?),
        );
        for (i, &table) in self.uses.tables.iter().enumerate() {
            imports.import(FIRST, &short("t", i), self.table_type(table, module.tables[table as usize])?);
        }
        for (i, &global) in self.uses.globals.iter().enumerate() {
            imports.import(
                FIRST,
                &short("g", i),
                RoundtripReencoder.global_type(module.globals[global as usize]).map_err(plain)?,
            );
        }
        imports.import(FIRST, &self.is_there, FLAG);
        for (i, &function) in self.uses.functions.iter().enumerate() {
            imports.import(FIRST, &short("f", i), EntityType::Function(module.function_types[function as usize]));
        }
        Ok(imports)
    }

    fn start(&self) -> Function {
        let mut start = Function::new([]);
        start.instructions().i32_const(1).global_set(self.uses.globals.len() as u32).end();
        start
    }
}

const FLAG: GlobalType = GlobalType { val_type: ValType::I32, mutable: true, shared: false };

/// Where in the second module what the first calls by its places is.
struct Places {
    functions: BTreeMap<u32, u32>,
    globals: BTreeMap<u32, u32>,
    tables: BTreeMap<u32, u32>,
}

impl Places {
    fn new(plan: &Plan<'_>) -> Self {
        let number = |all: &mut dyn Iterator<Item = &u32>| all.zip(0..).map(|(&from, to)| (from, to)).collect();
        Self {
            functions: number(&mut plan.uses.functions.iter().chain(&plan.moved)),
            globals: number(&mut plan.uses.globals.iter()),
            tables: number(&mut plan.uses.tables.iter()),
        }
    }
}

type Reencoded = Result<u32, wasm_encoder::reencode::Error<Infallible>>;

impl Reencode for Places {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Reencoded {
        Ok(self.functions[&function])
    }

    fn global_index(&mut self, global: u32) -> Reencoded {
        Ok(self.globals[&global])
    }

    fn table_index(&mut self, table: u32) -> Reencoded {
        Ok(self.tables[&table])
    }
}

fn plain(error: wasm_encoder::reencode::Error<Infallible>) -> anyhow::Error {
    anyhow!("{error}")
}

/// No name that a binding generator writes begins so.
fn short(letter: &str, i: usize) -> String {
    format!(".{letter}{i}")
}

/// FNV-1a.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
