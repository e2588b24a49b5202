//! The command line: parse, call, print. Nothing is decided here.

use std::process::ExitCode;
pub mod exit;
mod check;
mod connect;
mod human;
mod output;
/// x
#[derive(clap::Parser)]
pub struct Cli;
impl Cli { /// x
 pub fn run(self) -> ExitCode { exit::OK.into() } }
