//! Secrets from a command: bounded in time and in what it prints, and gone with all it started.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::zeroize::Zeroize;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::LONGEST;

/// What a command prints. Its standard error goes nowhere: it could hold the secret.
///
/// # Errors
/// Why there is no secret, in words that hold none of it. Nothing of the command's process group
/// is left then; what took care to leave the group (an agent that became a daemon) stays.
pub(super) async fn output(words: &[String], limit: Duration) -> Result<Vec<u8>, String> {
    let (program, arguments) = words.split_first().ok_or("it has no words")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A group of its own, to be ended together.
    let mut child =
        command.process_group(0).kill_on_drop(true).spawn().map_err(|e| e.to_string())?;
    let mut group = Group::of(&child);
    let mut printed = Vec::new();
    let outcome = tokio::time::timeout(limit, read(&mut child, &mut printed))
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} seconds", limit.as_secs_f32())));
    match outcome {
        Ok(()) => {
            group.release();
            Ok(printed)
        }
        Err(cause) => {
            printed.zeroize();
            Err(cause)
        }
    }
}

async fn read(child: &mut Child, printed: &mut Vec<u8>) -> Result<(), String> {
    let stdout = child.stdout.take().ok_or("it has no output")?;
    // One byte more than is taken, and no further: what prints for ever is not listened to.
    let mut stdout = stdout.take(LONGEST + 1);
    stdout.read_to_end(printed).await.map_err(|e| e.to_string())?;
    if printed.len() as u64 > LONGEST {
        return Err("it prints more than a secret".into());
    }
    let status = child.wait().await.map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}

/// A process group that is killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    /// It may live on.
    fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}
