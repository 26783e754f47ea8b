//! The two modules.

use std::{collections::BTreeSet, ops::Range};

use anyhow::Result;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ElementSection, Elements, EntityType, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, ImportSection, Module as Encoded, RawSection, StartSection,
    TableSection, TableType, TypeSection, ValType,
    reencode::{Reencode, RoundtripReencoder},
};
use wasmparser::{Parser, Payload};

use crate::{
    module::{Module, Uses, functions_called},
    order::order,
    places::{Places, plain},
};

/// The name under which the second module imports what the first has.
const FIRST: &str = "first";

/// What a stub takes, about.
const STUB_BYTES: usize = 16;

pub struct Split {
    pub first: Vec<u8>,
    pub later: Vec<u8>,
    pub n_moved: usize,
}

/// `is_moved`: for each function. Imported ones and the one that stubs call stay whatever it says.
pub fn split(module: &Module<'_>, is_moved: &[bool]) -> Result<Split> {
    let is_moved: Vec<bool> = without_small(module, is_moved)?;
    let own = module.n_imported_functions..module.n_functions();
    let (moved, staying): (Vec<u32>, Vec<u32>) = own.partition(|f| is_moved[*f as usize]);
    let mut uses = Uses::default();
    for &function in &moved {
        uses.add(module.body(function)?)?;
    }
    uses.functions.retain(|f| moved.binary_search(f).is_err());
    uses.need_table(module.function_table);
    let called = called(module, &is_moved)?;
    let moved = ordered(module, &moved)?;
    let mut stubs: Vec<(u32, usize, u32)> = vec![];
    for (place, &function) in moved.iter().enumerate().filter(|(_, f)| called.contains(f)) {
        stubs.push((module.function_types[function as usize], place, function));
    }
    stubs.sort_unstable();
    let mut plan = Plan {
        module,
        staying: ordered(module, &staying)?,
        moved,
        stubs: stubs.into_iter().map(|(_, place, function)| (place, function)).collect(),
        uses,
        is_there: format!("later-{:016x}", fingerprint(module.bytes)),
    };
    let mut places = plan.first_places();
    plan.uses.functions.sort_by_key(|f| places.function_index(*f).ok());
    Ok(Split { first: plan.first()?, later: plan.later()?, n_moved: plan.moved.len() })
}

/// What is called by functions that are not moved, or from outside.
fn called(module: &Module<'_>, is_moved: &[bool]) -> Result<BTreeSet<u32>> {
    let mut called = module.named.clone();
    for function in (module.n_imported_functions..module.n_functions()).filter(|f| !is_moved[*f as usize]) {
        called.extend(functions_called(module.body(function)?)?);
    }
    Ok(called)
}

/// `is_moved` without what can't be, and without what is no larger than its stub would be and needs no stubs that are not there.
fn without_small(module: &Module<'_>, is_moved: &[bool]) -> Result<Vec<bool>> {
    let mut moved = is_moved.to_vec();
    moved[..module.n_imported_functions as usize].fill(false);
    moved[module.load_later as usize] = false;
    let mut called = called(module, &moved)?;
    loop {
        let mut n_small = 0;
        for function in module.n_imported_functions..module.n_functions() {
            if !moved[function as usize] || !called.contains(&function) {
                continue;
            }
            let body = module.body(function)?;
            let calls = functions_called(body)?;
            if body.as_bytes().len() <= STUB_BYTES && calls.iter().all(|f| !moved[*f as usize] || called.contains(f)) {
                moved[function as usize] = false;
                called.extend(calls);
                n_small += 1;
            }
        }
        if n_small == 0 {
            return Ok(moved);
        }
    }
}

/// Functions in the order that compresses best.
fn ordered(module: &Module<'_>, functions: &[u32]) -> Result<Vec<u32>> {
    let bodies = functions.iter().map(|f| module.body(*f).map(|body| body.as_bytes())).collect::<Result<Vec<_>>>()?;
    Ok(order(&bodies).into_iter().map(|i| functions[i]).collect())
}

struct Plan<'a> {
    module: &'a Module<'a>,
    /// In the first module, in their order there. The function that stubs call stands before them, and stubs before that.
    staying: Vec<u32>,
    /// In the second module, in their order there.
    moved: Vec<u32>,
    /// What is moved and called by the first module, or from outside: places in `moved`, and functions. Those of a type stand together.
    stubs: Vec<(usize, u32)>,
    /// Of the first module, by the second: functions in their order there.
    uses: Uses,
    /// The name of the global that says whether the second module is there. It belongs to these two alone: a second module of another
    /// build does not find it.
    is_there: String,
}

impl Plan<'_> {
    fn first(&self) -> Result<Vec<u8>> {
        let mut places = self.first_places();
        let mut out = Encoded::new();
        for payload in Parser::new(0).parse_all(self.module.bytes) {
            match payload? {
                Payload::TypeSection(_) => out.section(&self.types()?),
                Payload::FunctionSection(_) => out.section(&self.first_functions()),
                Payload::TableSection(section) => out.section(&self.tables(section)?),
                Payload::GlobalSection(section) => out.section(&self.globals(section)?),
                Payload::ExportSection(section) => out.section(&self.exports(section, &mut places)?),
                Payload::StartSection { func, .. } => {
                    let function_index = places.function_index(func).map_err(plain)?;
                    out.section(&StartSection { function_index })
                }
                Payload::ElementSection(section) => out.section(&self.elements(section, &mut places)?),
                Payload::CodeSectionStart { .. } => out.section(&self.first_code(&mut places)?),
                Payload::CodeSectionEntry(_) | Payload::CustomSection(_) => continue,
                other => match other.as_section() {
                    Some((id, Range { start, end })) => {
                        out.section(&RawSection { id, data: &self.module.bytes[start as usize..end as usize] })
                    }
                    None => continue,
                },
            };
        }
        Ok(out.finish())
    }

    /// Behind what is imported.
    fn first_places(&self) -> Places {
        let imported = 0..self.module.n_imported_functions;
        let mut places = Places::new(imported.chain(self.stubs.iter().map(|(_, f)| *f)));
        places.skip_function();
        places.add_functions(self.staying.iter().copied());
        places
    }

    fn types(&self) -> Result<TypeSection> {
        let mut types = TypeSection::new();
        for ty in &self.module.types {
            types.ty().func_type(&RoundtripReencoder.func_type(ty.clone()).map_err(plain)?);
        }
        types.ty().function([], []);
        Ok(types)
    }

    /// Without parameters and results.
    fn plain_type(&self) -> u32 {
        self.module.types.len() as u32
    }

    fn first_functions(&self) -> FunctionSection {
        let mut functions = FunctionSection::new();
        let of = |f: &u32| self.module.function_types[*f as usize];
        let types = self.stubs.iter().map(|(_, f)| of(f)).chain([self.plain_type()]).chain(self.staying.iter().map(of));
        types.for_each(|ty| {
            functions.function(ty);
        });
        functions
    }

    fn tables(&self, section: wasmparser::TableSectionReader<'_>) -> Result<TableSection> {
        let mut tables = TableSection::new();
        for (i, table) in section.into_iter().enumerate() {
            tables.table(self.table_type(i as u32, table?.ty)?);
        }
        Ok(tables)
    }

    /// That of functions has room for what the second module calls, and then for what is moved.
    fn table_type(&self, table: u32, ty: wasmparser::TableType) -> Result<TableType> {
        let mut ty = RoundtripReencoder.table_type(ty).map_err(plain)?;
        if table == self.module.function_table {
            let n = (self.uses.functions.len() + self.moved.len()) as u64;
            ty.minimum += n;
            ty.maximum = ty.maximum.map(|most| most + n);
        }
        Ok(ty)
    }

    /// Where in the table what the second module calls begins.
    fn used_base(&self) -> u32 {
        self.module.tables[self.module.function_table as usize].initial as u32
    }

    /// Where in the table what is moved begins.
    fn moved_base(&self) -> u32 {
        self.used_base() + self.uses.functions.len() as u32
    }

    fn globals(&self, section: wasmparser::GlobalSectionReader<'_>) -> Result<GlobalSection> {
        let mut globals = GlobalSection::new();
        RoundtripReencoder.parse_global_section(&mut globals, section).map_err(plain)?;
        globals.global(FLAG, &ConstExpr::i32_const(0));
        Ok(globals)
    }

    fn exports(&self, section: wasmparser::ExportSectionReader<'_>, places: &mut Places) -> Result<ExportSection> {
        let mut exports = ExportSection::new();
        places.parse_export_section(&mut exports, section).map_err(plain)?;
        exports.export(&short("m", 0), ExportKind::Memory, 0);
        exports.export(&self.is_there, ExportKind::Global, self.module.globals.len() as u32);
        for (kind, letter, all) in
            [(ExportKind::Table, "t", &self.uses.tables), (ExportKind::Global, "g", &self.uses.globals)]
        {
            for (i, &place) in all.iter().enumerate() {
                exports.export(&short(letter, i), kind, place);
            }
        }
        // Whoever instantiates the second module finds there what has no name of its own.
        exports.export(TABLE, ExportKind::Table, self.module.function_table);
        Ok(exports)
    }

    fn elements(&self, section: wasmparser::ElementSectionReader<'_>, places: &mut Places) -> Result<ElementSection> {
        let mut elements = ElementSection::new();
        places.parse_element_section(&mut elements, section).map_err(plain)?;
        let used = self.uses.functions.iter().map(|f| places.function_index(*f)).collect::<Result<Vec<_>, _>>();
        let table = Some(self.module.function_table).filter(|table| *table > 0);
        let offset = ConstExpr::i32_const(self.used_base() as i32);
        elements.active(table, &offset, Elements::Functions(used.map_err(plain)?.into()));
        Ok(elements)
    }

    fn first_code(&self, places: &mut Places) -> Result<CodeSection> {
        let mut code = CodeSection::new();
        let loads = self.module.n_imported_functions + self.stubs.len() as u32;
        for &(place, function) in &self.stubs {
            code.function(&self.stub(place, function, loads));
        }
        code.function(&self.loads(places)?);
        for &function in &self.staying {
            places.parse_function_body(&mut code, self.module.body(function)?.clone()).map_err(plain)?;
        }
        Ok(code)
    }

    /// `loads`: the place of [`Self::loads`].
    fn stub(&self, place: usize, function: u32, loads: u32) -> Function {
        let ty = self.module.function_types[function as usize];
        let mut stub = Function::new([]);
        let mut code = stub.instructions();
        code.call(loads);
        for i in 0..self.module.types[ty as usize].params().len() as u32 {
            code.local_get(i);
        }
        code.i32_const((self.moved_base() as usize + place) as i32).call_indirect(self.module.function_table, ty).end();
        stub
    }

    /// What stubs call: sees to it that the second module is there.
    fn loads(&self, places: &mut Places) -> Result<Function> {
        let load_later = places.function_index(self.module.load_later).map_err(plain)?;
        let mut loads = Function::new([]);
        loads
            .instructions()
            .global_get(self.module.globals.len() as u32)
            .i32_eqz()
            .if_(BlockType::Empty)
            .call(load_later)
            .end()
            .end();
        Ok(loads)
    }

    fn later(&self) -> Result<Vec<u8>> {
        let module = self.module;
        let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
        let mut places = Places::new(self.uses.functions.iter().chain(&self.moved).copied());
        places.globals = self.uses.globals.clone();
        places.tables = self.uses.tables.clone();
        for &function in &self.moved {
            functions.function(module.function_types[function as usize]);
            places.parse_function_body(&mut code, module.body(function)?.clone()).map_err(plain)?;
        }
        functions.function(self.plain_type());
        code.function(&self.start());
        let n_imported = self.uses.functions.len() as u32;
        let n_moved = self.moved.len() as u32;
        let own: Vec<u32> = (n_imported..n_imported + n_moved).collect();
        let mut elements = ElementSection::new();
        let table = places.table_index(module.function_table).map_err(plain)?;
        elements.active(Some(table), &ConstExpr::i32_const(self.moved_base() as i32), Elements::Functions(own.into()));
        let mut out = Encoded::new();
        out.section(&self.types()?).section(&self.imports()?).section(&functions);
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
            let place = self.used_base() as usize + i;
            imports.import(FIRST, &place.to_string(), EntityType::Function(module.function_types[function as usize]));
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

/// The table of functions (www/pkg/src/later.ts).
const TABLE: &str = ".t";

/// No name that a binding generator writes begins so.
fn short(letter: &str, i: usize) -> String {
    format!(".{letter}{i}")
}

/// FNV-1a.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
