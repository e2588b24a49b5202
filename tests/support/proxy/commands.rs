//! The way to the server: which bytes are which part of which command.

use std::io::{self, ErrorKind, Read};
use std::sync::atomic::Ordering;

use super::connection::{Command, Connection, Fate};
use super::fault::Stage;
use super::framing::{self, Framer, Piece};

/// What drover says on a connection.
#[derive(Default)]
pub(super) struct Commands {
    framer: Framer,
    /// The one whose parts are coming.
    current: Option<Command>,
}

impl Commands {
    /// Up to the end of what drover says.
    pub(super) fn run(&mut self, connection: &Connection) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = (&connection.client).read(&mut buffer)?;
            if n == 0 {
                let rest = self.framer.rest();
                return self.pass(connection, &rest);
            }
            self.forget_refused(connection);
            let mut input = &buffer[..n];
            while !input.is_empty() {
                if connection.is_raw.load(Ordering::SeqCst) {
                    self.pass(connection, input)?;
                    break;
                }
                let (piece, n) = self.framer.next(input);
                input = &input[n..];
                match piece {
                    Some(Piece::Line { bytes, announces, .. }) => {
                        self.line(connection, bytes, announces)?;
                    }
                    Some(Piece::Literal { bytes, is_half }) => {
                        self.pass(connection, &bytes)?;
                        if is_half && let Some(command) = &mut self.current {
                            connection.stage(command, Stage::InLiteral, &mut Vec::new())?;
                            command.faults.retain(|fault| !fault.is_at(Stage::InLiteral));
                        }
                    }
                    None => {}
                }
            }
        }
    }

    /// A command whose literal was refused has ended before its literal.
    fn forget_refused(&mut self, connection: &Connection) {
        let Some(command) = &self.current else { return };
        let pending = connection.pending.lock().expect("not poisoned");
        if !pending.iter().any(|other| other.tag == command.tag) {
            self.framer.give_up_literal();
            self.current = None;
        }
    }

    fn line(
        &mut self,
        connection: &Connection,
        mut line: Vec<u8>,
        announces: Option<framing::Literal>,
    ) -> io::Result<()> {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        connection.shared.heard.lock().expect("not poisoned").push(text.clone());
        let is_first = self.current.is_none() && !is_dialogue(connection);
        if is_first {
            let mut command = connection.begin(&text);
            let fate = connection.stage(&command, Stage::Before, &mut line)?;
            if let Fate::Answer { text, is_last } = fate {
                command.answer = Some(text);
                command.is_last = is_last;
            }
            connection.update(&command);
            self.current = Some(command);
        }
        self.pass(connection, &line)?;
        let Some(command) = &self.current else { return Ok(()) };
        if is_first {
            connection.stage(command, Stage::AfterLine, &mut Vec::new())?;
        }
        match announces {
            Some(literal) if command.answer.is_some() && literal.waits => {
                connection.inject(b"+ go on\r\n")
            }
            Some(_) => Ok(()),
            None => self.end(connection),
        }
    }

    /// The command at hand has come to its last byte.
    fn end(&mut self, connection: &Connection) -> io::Result<()> {
        let Some(mut command) = self.current.take() else { return Ok(()) };
        connection.stage(&command, Stage::Sent, &mut Vec::new())?;
        if command.answer.is_some() {
            command.is_complete = true;
            connection.update(&command);
            connection.give_answers()?;
        }
        Ok(())
    }

    fn pass(&self, connection: &Connection, bytes: &[u8]) -> io::Result<()> {
        if self.current.as_ref().is_some_and(|command| command.answer.is_some()) {
            return Ok(());
        }
        if connection.is_over.load(Ordering::SeqCst) {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        connection.to_server.lock().expect("not poisoned").write(connection, bytes)
    }
}

/// True while drover's lines are not commands: SASL, and IDLE up to its DONE.
fn is_dialogue(connection: &Connection) -> bool {
    let pending = connection.pending.lock().expect("not poisoned");
    pending.iter().any(|command| ["AUTHENTICATE", "IDLE"].contains(&command.verb.as_str()))
}
