//! stand-in
#[derive(Debug, clap::Args)]
pub struct Args { name: String }
pub fn run(_: &Args, _: &std::path::Path, _: &mut dyn std::io::Write) -> anyhow::Result<std::process::ExitCode> { Ok(0.into()) }
