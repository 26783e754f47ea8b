//! Takes comments and indentation out of the shaders, which are shipped as text: a third of their bytes. Lines that begin with
//! `//#` choose between texts and stay.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=shaders");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    strip_folder(Path::new("shaders"), &PathBuf::from(out).join("shaders"))
}

fn strip_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            strip_folder(&path, &target)?;
        } else if path.extension().is_some_and(|e| e == "wgsl") {
            fs::write(target, strip(&fs::read_to_string(&path)?))?;
        }
    }
    Ok(())
}

fn strip(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.filter(|line| !line.starts_with("//") || line.starts_with("//#")).flat_map(|line| [line, "\n"]).collect()
}
