//! What naga finds in a composed shader: whether it is valid, and which bindings, structs and memory its entry point has once
//! its constants are set. Judges nothing.

use std::collections::BTreeMap;

use kinglet::gpu::shader::Name;
use naga::{
    AddressSpace, Handle, Module, StorageAccess, Type, TypeInner,
    back::{PipelineConstants, pipeline_constants::process_overrides},
    front::wgsl,
    proc::Layouter,
    valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator},
};

/// A module that naga accepted, with what its entry point uses.
#[derive(Debug)]
pub struct Shader {
    pub bindings: BTreeMap<u32, Binding>,
    /// By name: size in bytes and the members with their offsets.
    pub structs: BTreeMap<String, (u32, Vec<(String, u32)>)>,
    pub workgroup_size: [u32; 3],
    /// Workgroup memory of the entry point, bytes.
    pub workgroup_bytes: u32,
    /// The largest sum of the variables of one function, and the module's private variables, bytes.
    pub function_bytes: u32,
}

/// A resource of group 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub name: String,
    pub space: Space,
    /// Read or written by the entry point, or by what it calls.
    pub used: bool,
    /// The outermost struct, also as an array's element.
    pub of: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    Uniform,
    Read,
    ReadWrite,
}

/// Parses and validates a text as for a device with or without subgroups, and sets the constants of its pipeline: all
/// that it asks for, and no others.
pub fn inspect(text: &str, subgroups: bool, constants: &[(Name, f64)]) -> Result<Shader, String> {
    let module = wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
    let info = validate(&module, subgroups).map_err(|e| format!("{e}\n{text}"))?;
    let mut values = PipelineConstants::default();
    values.extend(constants.iter().map(|(name, value)| ((*name).to_owned(), *value)));
    let stage = Some((naga::ShaderStage::Compute, "main"));
    // Drops what is not used.
    let (set, set_info) = process_overrides(&module, &info, stage, &values).map_err(|e| format!("constants: {e}"))?;
    let (workgroup_bytes, function_bytes) = memory(&set, &set_info)?;
    Ok(Shader {
        bindings: bindings(&module, &info)?,
        structs: structs(&module),
        workgroup_size: set.entry_points.first().ok_or("there is no entry point")?.workgroup_size,
        workgroup_bytes,
        function_bytes,
    })
}

fn validate(module: &Module, subgroups: bool) -> Result<ModuleInfo, String> {
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32 | Capabilities::SHADER_FLOAT16;
    if subgroups {
        capabilities |= Capabilities::SUBGROUP;
    }
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    if subgroups {
        validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
    }
    validator.validate(module).map_err(|e| format!("{:?}", e.into_inner()))
}

fn bindings(module: &Module, info: &ModuleInfo) -> Result<BTreeMap<u32, Binding>, String> {
    let mut all = BTreeMap::new();
    for (handle, variable) in module.global_variables.iter() {
        let space = match variable.space {
            AddressSpace::Uniform => Space::Uniform,
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Space::ReadWrite,
            AddressSpace::Storage { .. } => Space::Read,
            _ => continue,
        };
        let name = variable.name.clone().unwrap_or_default();
        let Some(at) = &variable.binding else { return Err(format!("{name} has no binding")) };
        let used = !info.get_entry_point(0)[handle].is_empty();
        let binding = Binding { name: name.clone(), space, used, of: struct_of(module, variable.ty) };
        if at.group != 0 {
            return Err(format!("{name}: group {}, binding {}, which is not group 0", at.group, at.binding));
        }
        // Two at one place were refused by the validation.
        all.insert(at.binding, binding);
    }
    Ok(all)
}

/// Bytes of workgroup memory, and of the variables of the function that has most with the private ones.
fn memory(module: &Module, info: &ModuleInfo) -> Result<(u32, u32), String> {
    let mut layouter = Layouter::default();
    layouter.update(module.to_ctx()).map_err(|e| format!("layout: {e}"))?;
    let size = |ty: Handle<Type>| layouter[ty].size;
    let (mut workgroup, mut private) = (0, 0);
    for (handle, variable) in module.global_variables.iter() {
        match variable.space {
            AddressSpace::WorkGroup if !info.get_entry_point(0)[handle].is_empty() => {
                workgroup += size(variable.ty).next_multiple_of(16);
            }
            AddressSpace::Private => private += size(variable.ty),
            _ => {}
        }
    }
    let functions = module.functions.iter().map(|(_, f)| f).chain(module.entry_points.iter().map(|e| &e.function));
    let of_function = |f: &naga::Function| f.local_variables.iter().map(|(_, v)| size(v.ty)).sum::<u32>();
    Ok((workgroup, private + functions.map(of_function).max().unwrap_or(0)))
}

fn structs(module: &Module) -> BTreeMap<String, (u32, Vec<(String, u32)>)> {
    let named = module.types.iter().filter_map(|(_, ty)| match &ty.inner {
        TypeInner::Struct { members, span } => {
            let members = members.iter().map(|m| (m.name.clone().unwrap_or_default(), m.offset)).collect();
            Some((ty.name.clone()?, (*span, members)))
        }
        _ => None,
    });
    named.collect()
}

fn struct_of(module: &Module, ty: Handle<Type>) -> Option<String> {
    match &module.types[ty].inner {
        TypeInner::Array { base, .. } => struct_of(module, *base),
        TypeInner::Struct { .. } => module.types[ty].name.clone(),
        _ => None,
    }
}
