//! Any bytes as what an MCP server writes: noise or messages, and lists of tools within every limit.
#![no_main]

use agent_runner::tools::mcp::{Frame, frames};
use futures_executor::block_on;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for frame in block_on(frames(data)) {
        let Frame::Tools(listed) = frame else { continue };
        assert!(listed.hash.starts_with("sha256:"));
        for tool in listed.tools {
            assert!(!tool.name.is_empty() && tool.name.chars().count() <= 128);
            assert!(tool.function.starts_with("server__") && tool.function.len() <= 64);
            assert!(tool.function.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
            assert!(tool.schema["type"] == "object" && tool.description.chars().count() <= 2000);
        }
    }
});
