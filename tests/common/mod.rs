//! What several test files share. Each of them uses a part.
#![allow(dead_code, unreachable_pub, reason = "every test binary compiles this and uses a part of it")]

pub mod arena;
pub mod bad_files;
pub mod case;
pub mod cases;
#[cfg(not(target_arch = "wasm32"))]
pub mod checked;
pub mod counting;
pub mod decoders;
pub mod default_model;
pub mod elsewhere;
pub mod encoders;
pub mod family_cases;
pub mod faulty;
pub mod formats;
pub mod generate;
pub mod gguf_builder;
pub mod golden;
pub mod gpu;
pub mod gpu_route;
pub mod llama_cpp;
pub mod llama_model;
pub mod odd_products;
pub mod parse;
pub mod planes;
pub mod recorder;
pub mod refused;
pub mod rng;
pub mod runner;
pub mod step_runner;
pub mod t5;
pub mod task;
pub mod teacher_forced;
pub mod tiny_llama;
#[cfg(not(target_arch = "wasm32"))]
pub mod wgsl;
