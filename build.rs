//! Takes comments, indentation and needless spaces out of the shaders, which are shipped as text: almost half of their bytes. Lines
//! that begin with `//#` choose between texts and stay.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=shaders");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let mut hash = 0xcbf2_9ce4_8422_2325;
    strip_folder(Path::new("shaders"), &PathBuf::from(out).join("shaders"), &mut hash)?;
    // What was measured of these shaders says nothing about others (src/gpu/tune/).
    println!("cargo::rustc-env=SHADERS={hash:016x}");
    Ok(())
}

/// `hash`: FNV-1a of all that is written.
fn strip_folder(from: &Path, to: &Path, hash: &mut u64) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut paths = fs::read_dir(from)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            strip_folder(&path, &target, hash)?;
        } else if path.extension().is_some_and(|e| e == "wgsl") {
            let text = strip(&fs::read_to_string(&path)?);
            text.bytes().for_each(|b| *hash = (*hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
            fs::write(target, text)?;
        }
    }
    Ok(())
}

fn strip(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let kept = lines.filter(|line| !line.starts_with("//") || line.starts_with("//#"));
    kept.flat_map(|line| [if line.starts_with("//#") { line.to_owned() } else { squeeze(line) }, "\n".into()]).collect()
}

/// A line without the spaces that part nothing: two words have one between them, and two operators.
fn squeeze(line: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let is_operator = |c: char| "+-*/%<>=&|^!".contains(c);
    let mut squeezed = String::new();
    for part in line.split(' ').filter(|part| !part.is_empty()) {
        let joins = |both: &dyn Fn(char) -> bool| squeezed.ends_with(both) && part.starts_with(both);
        if joins(&is_word) || joins(&is_operator) {
            squeezed.push(' ');
        }
        squeezed.push_str(part);
    }
    squeezed
}
