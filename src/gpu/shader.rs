//! Which shader, and its text: composed of the plain files in `shaders/`. What a text is composed of is said by a [`Shader`];
//! numbers are `override` constants of the pipeline, not part of the text.
//!
//! ```text
//! (enable …)  common.wgsl  blocks.wgsl formats/…  kv/…  what the kernel shares with others  KERNEL.wgsl
//! ```
//! Lines `//#if FLAG`, `//#else`, `//#endif` choose between texts where bindings, the length of a private array or a language
//! feature differ.

use crate::{kv::KvFormat, quant::Format};

/// A file of `shaders/`, without its comments (build.rs).
macro_rules! text {
    ($path:literal) => {
        include_str!(concat!(env!("OUT_DIR"), "/shaders/", $path))
    };
}

/// What compiles the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// A browser, or Dawn: wants `enable` for what it has.
    Browser,
    /// naga natively: knows no `enable subgroups`.
    Naga,
}

/// A shader file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "named like the files")]
pub enum Kernel {
    Activate,
    Add,
    Attention,
    AttentionJoin,
    AttentionPrefill,
    Best,
    BlockBest,
    Choose,
    Embed,
    Glu,
    KvWrite,
    MeanRows,
    Norm,
    Rope,
    RopeKv,
    Matmul,
    MatmulNarrow,
    Matvec,
    Scale,
    SelectRows,
    ShortConv,
}

impl Kernel {
    /// Name of the file without its ending, also the entry point's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Add => "add",
            Self::Attention => "attention",
            Self::AttentionJoin => "attention_join",
            Self::AttentionPrefill => "attention_prefill",
            Self::Best => "best",
            Self::BlockBest => "block_best",
            Self::Choose => "choose",
            Self::Embed => "embed",
            Self::Glu => "glu",
            Self::KvWrite => "kv_write",
            Self::MeanRows => "mean_rows",
            Self::Norm => "norm",
            Self::Rope => "rope",
            Self::RopeKv => "rope_kv",
            Self::Matmul => "matmul",
            Self::MatmulNarrow => "matmul_narrow",
            Self::Matvec => "matvec",
            Self::Scale => "scale",
            Self::SelectRows => "select_rows",
            Self::ShortConv => "short_conv",
        }
    }

    /// Whether it multiplies tile by tile.
    pub fn is_tiled_product(self) -> bool {
        matches!(self, Self::Matmul | Self::MatmulNarrow)
    }

    /// Whether rows attend together.
    pub fn is_tiled_attention(self) -> bool {
        matches!(self, Self::AttentionPrefill)
    }

    fn text(self) -> &'static str {
        match self {
            Self::Activate => text!("activate.wgsl"),
            Self::Add => text!("add.wgsl"),
            Self::Attention => text!("attention.wgsl"),
            Self::AttentionJoin => text!("attention_join.wgsl"),
            Self::AttentionPrefill => text!("attention_prefill.wgsl"),
            Self::Best => text!("best.wgsl"),
            Self::BlockBest => text!("block_best.wgsl"),
            Self::Choose => text!("choose.wgsl"),
            Self::Embed => text!("embed.wgsl"),
            Self::Glu => text!("glu.wgsl"),
            Self::KvWrite => text!("kv_write.wgsl"),
            Self::MeanRows => text!("mean_rows.wgsl"),
            Self::Norm => text!("norm.wgsl"),
            Self::Rope => text!("rope.wgsl"),
            Self::RopeKv => text!("rope_kv.wgsl"),
            Self::Matmul => text!("matmul.wgsl"),
            Self::MatmulNarrow => text!("matmul_narrow.wgsl"),
            Self::Matvec => text!("matvec.wgsl"),
            Self::Scale => text!("scale.wgsl"),
            Self::SelectRows => text!("select_rows.wgsl"),
            Self::ShortConv => text!("short_conv.wgsl"),
        }
    }
}

/// What a shader's text is composed of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shader {
    /// The operation.
    pub kernel: Kernel,
    /// Format of the weights that it reads.
    pub format: Option<Name>,
    /// Format of the cache that it reads or writes.
    pub kv: Option<Name>,
    /// Flags that are set, in the order of the alphabet.
    pub flags: Vec<Name>,
}

/// A name in a shader.
pub type Name = &'static str;

/// The flag that makes a shader use subgroups.
pub const SUBGROUPS: Name = "SUBGROUPS";
/// The flag that makes a team of matrix × vector compute four rows of the matrix.
pub const TEAM_4: Name = "TEAM_4";
/// The flags of matrix × matrix for tiles of 16 and of 64 rows of x instead of 32.
pub const T_16: Name = "T_16";
/// See [`T_16`].
pub const T_64: Name = "T_64";
/// The flag of matrix × matrix that multiplies f16.
pub const AS_F16: Name = "AS_F16";
/// The flag of matrix × matrix that multiplies signed bytes.
pub const AS_BYTES: Name = "AS_BYTES";

/// The flag of attention that takes a row's own position first.
pub const OWN: Name = "OWN";
/// The flag of what normalises q and k before it rotates them.
pub const NORMS: Name = "NORMS";
/// The flag of attention that rotates and appends.
pub const APPEND: Name = "APPEND";
/// The flag of attention that has a part of the positions.
pub const PARTS: Name = "PARTS";
/// The flag of soft caps.
pub const CAP: Name = "CAP";
/// The flag of a product that finds the best of blocks of what it makes.
pub const BEST: Name = "BEST";
/// The flag of what chooses a token and looks it up.
pub const EMBED: Name = "EMBED";

impl Shader {
    /// One without formats or flags.
    pub fn new(kernel: Kernel) -> Self {
        Self { kernel, format: None, kv: None, flags: vec![] }
    }

    /// Reads weights of this format.
    pub fn format(self, format: Format) -> Self {
        Self { format: Some(format.name()), ..self }.flag("SCALES", format.layout().has_scales())
    }

    /// Reads or writes a cache of this format.
    pub fn kv(self, format: KvFormat) -> Self {
        let name = match format {
            KvFormat::F16 => "f16",
            KvFormat::F32 => "f32",
            KvFormat::Q8_0 => "q8_0",
        };
        Self { kv: Some(name), ..self }.flag("BLOCKS", format == KvFormat::Q8_0)
    }

    /// Sets a flag where `set`.
    pub fn flag(mut self, name: Name, set: bool) -> Self {
        if set && let Err(at) = self.flags.binary_search(&name) {
            self.flags.insert(at, name);
        }
        self
    }

    /// Whether a flag is set.
    pub fn has(&self, name: &str) -> bool {
        self.flags.contains(&name)
    }

    /// For people: `matvec Q4_1 NORM SUBGROUPS`.
    pub fn label(&self) -> String {
        let mut label = String::from(self.kernel.name());
        for part in self.format.iter().chain(&self.kv).chain(&self.flags) {
            label.push(' ');
            label.push_str(part);
        }
        label
    }

    /// The text that is compiled.
    pub fn compose(&self, dialect: Dialect) -> String {
        let mut text = String::new();
        if dialect == Dialect::Browser && self.has(SUBGROUPS) {
            text.push_str("enable subgroups;\n");
        }
        if self.has(AS_F16) {
            text.push_str("enable f16;\n");
        }
        let formats = if self.has("SCALES") { text!("formats/quantized.wgsl") } else { text!("formats/numbers.wgsl") };
        let parts = [
            Some(text!("common.wgsl")),
            self.format.map(|_| text!("blocks.wgsl")),
            self.format.map(|_| formats),
            self.kv.filter(|kv| *kv != "f32").map(|_| text!("kv/half.wgsl")),
            self.kv.and_then(kv_text),
            self.kv.map(|_| text!("kv/pages.wgsl")),
            Some(self.kernel.text()),
        ];
        let parts = parts.into_iter().flatten().chain(self.parts());
        parts.for_each(|part| self.append(part, &mut text));
        text
    }

    /// What the kernel shares with others.
    fn parts(&self) -> impl Iterator<Item = &'static str> {
        const LANES: &str = text!("lanes.wgsl");
        const ACTIVATION: &str = text!("activation.wgsl");
        const CAP_TEXT: &str = text!("cap.wgsl");
        const ROTATION: &str = text!("rotation.wgsl");
        const ROTATED_QK: &str = text!("rotated_qk.wgsl");
        const PARTS_TEXT: &str = text!("parts.wgsl");
        const PRODUCTS: &str = text!("products.wgsl");
        const TILES: &str = text!("tiles.wgsl");
        const ORDERED: &str = text!("ordered.wgsl");
        const STORE: &str = text!("kv/store.wgsl");
        const CANDIDATES: &str = text!("candidates.wgsl");
        let always: &[&str] = match self.kernel {
            Kernel::Add | Kernel::Embed | Kernel::MeanRows | Kernel::Norm | Kernel::Scale | Kernel::SelectRows => {
                &[LANES]
            }
            Kernel::Activate | Kernel::Glu => &[LANES, ACTIVATION],
            Kernel::Matvec => &[LANES, ACTIVATION, PRODUCTS],
            Kernel::Matmul | Kernel::MatmulNarrow => &[LANES, ACTIVATION, PRODUCTS, TILES],
            Kernel::Attention | Kernel::AttentionPrefill if self.has(CAP) => &[LANES],
            Kernel::AttentionJoin => &[PARTS_TEXT],
            Kernel::Rope => &[ROTATION],
            Kernel::RopeKv => &[ROTATION, ROTATED_QK, STORE],
            Kernel::KvWrite => &[STORE],
            Kernel::BlockBest => &[ORDERED],
            Kernel::Best | Kernel::Choose => &[ORDERED, CANDIDATES],
            Kernel::Attention | Kernel::AttentionPrefill | Kernel::ShortConv => &[],
        };
        let by_flag: [(Name, &[&str]); 5] = [
            (CAP, &[CAP_TEXT]),
            (APPEND, &[ROTATION, ROTATED_QK, STORE]),
            (PARTS, &[PARTS_TEXT]),
            (BEST, &[ORDERED]),
            (EMBED, &[LANES]),
        ];
        let flagged = by_flag.into_iter().filter(|(flag, _)| self.has(flag)).flat_map(|(_, parts)| parts);
        always.iter().chain(flagged).copied()
    }

    /// Appends the lines of a part that the flags choose.
    fn append(&self, part: &str, text: &mut String) {
        let of_format = self.format.map_or(&[][..], format_flags);
        let is_set = |flag: &str| self.has(flag) || of_format.contains(&flag);
        // For each open `#if` whether its lines are wanted now.
        let mut wanted: Vec<bool> = vec![];
        for line in part.lines() {
            match line.trim_start().strip_prefix("//#") {
                None if wanted.iter().all(|w| *w) => {
                    text.push_str(line);
                    text.push('\n');
                }
                None => {}
                Some("else") => {
                    if let Some(last) = wanted.last_mut() {
                        *last = !*last;
                    }
                }
                Some("endif") => drop(wanted.pop()),
                Some(condition) => wanted.push(condition.strip_prefix("if ").is_some_and(|flag| is_set(flag.trim()))),
            }
        }
    }
}

/// The flags of shaders/formats/ that make up a format; those of the planes are in `quant::planes`.
fn format_flags(name: Name) -> &'static [Name] {
    match name {
        "F32" => &["F32"],
        "BF16" => &["BF16"],
        "Q4_0" => &["LOW_4", "HIGH_0", "HALF", "CENTRED", "MINIMA"],
        "Q4_1" => &["LOW_4", "HIGH_0", "PAIR", "MINIMA"],
        "Q5_0" => &["LOW_4", "HIGH_1", "HALF", "CENTRED", "MINIMA"],
        "Q5_1" => &["LOW_4", "HIGH_1", "PAIR", "MINIMA"],
        "Q8_0" => &["LOW_8", "HIGH_0", "HALF"],
        "Q2_K" => &["LOW_2", "HIGH_0", "TWO_BITS", "RECORD", "HALVES", "MINIMA"],
        "Q3_K" => &["LOW_2", "HIGH_1", "TWO_BITS", "RECORD", "HALVES", "CENTRED", "MINIMA"],
        "Q4_K" => &["LOW_4", "HIGH_0", "RECORD", "MINIMA"],
        "Q5_K" => &["LOW_4", "HIGH_1", "RECORD", "MINIMA"],
        "Q6_K" => &["LOW_4", "HIGH_2", "TWO_BITS", "RECORD", "HALVES", "CENTRED", "MINIMA"],
        "IQ4_NL" => &["LOW_4", "HIGH_0", "TABLE", "HALF"],
        "IQ4_XS" => &["LOW_4", "HIGH_0", "TABLE", "BYTES"],
        "MXFP4" => &["LOW_4", "HIGH_0", "TABLE", "EXPONENT"],
        "TQ1_0" | "TQ2_0" => &["LOW_2", "HIGH_0", "TWO_BITS", "HALF", "CENTRED", "TERNARY", "MINIMA"],
        _ => &[],
    }
}

fn kv_text(name: Name) -> Option<&'static str> {
    Some(match name {
        "f16" => text!("kv/f16.wgsl"),
        "f32" => text!("kv/f32.wgsl"),
        "q8_0" => text!("kv/q8_0.wgsl"),
        _ => return None,
    })
}
