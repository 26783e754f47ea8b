//! What several test files share. Each of them uses a part.
#![allow(dead_code, unreachable_pub, reason = "every test binary compiles this and uses a part of it")]
