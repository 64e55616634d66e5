//! Logs and metrics: how the process tells what it does.
//!
//! Rooms write with the `tracing` and `metrics` macros and take metric names from [`names`]; this room decides
//! where that goes. Prompts, data and keys never go into either.

mod logs;
pub mod names;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(not(feature = "otlp"))]
#[path = "otlp_absent.rs"]
mod otlp;
mod process;
mod recorder;
pub mod spans;
#[cfg(test)]
mod tests;

pub use logs::{FilterError, init};
pub use otlp::Export;
pub use recorder::{Metrics, install};
