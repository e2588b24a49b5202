//! The end of a direction: counts its bytes, and does what is to happen at one of them.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use super::connection::Connection;
use super::fault::{Direction, What};

pub(super) struct Outlet {
    stream: TcpStream,
    direction: Direction,
    /// Bytes of this connection that passed.
    past: u64,
    /// A response is half through: nothing may be put in here.
    pub(super) is_within: bool,
    /// Waits for the end of that response.
    queued: Vec<u8>,
}

impl Outlet {
    pub(super) fn new(stream: TcpStream, direction: Direction) -> Self {
        Self { stream, direction, past: 0, is_within: false, queued: Vec::new() }
    }

    /// Passes bytes on, and lets happen what is set for one of them.
    pub(super) fn write(&mut self, connection: &Connection, mut bytes: &[u8]) -> io::Result<()> {
        let shared = &connection.shared;
        while !bytes.is_empty() {
            let next = shared.within(self.direction, connection.number, self.past, bytes.len());
            let Some((before, fault)) = next else {
                return self.pass(connection, bytes);
            };
            self.pass(connection, &bytes[..before])?;
            bytes = &bytes[before..];
            shared.spend(&fault);
            let mut byte = [bytes[0]];
            match &fault.what {
                What::Flip => {
                    shared.fired.fetch_add(1, Ordering::SeqCst);
                    byte[0] ^= 1;
                }
                What::Inject(garbage) => {
                    shared.fired.fetch_add(1, Ordering::SeqCst);
                    self.push(connection, garbage)?;
                }
                what => connection.act(what, &mut Vec::new()).map(|_| ())?,
            }
            self.pass(connection, &byte)?;
            bytes = &bytes[1..];
        }
        Ok(())
    }

    /// Puts bytes between responses: now, or when the one at hand has ended.
    pub(super) fn inject(&mut self, connection: &Connection, bytes: &[u8]) -> io::Result<()> {
        if self.is_within {
            self.queued.extend_from_slice(bytes);
            return Ok(());
        }
        self.push(connection, bytes)
    }

    /// A response has ended.
    pub(super) fn response_ended(&mut self, connection: &Connection) -> io::Result<()> {
        self.is_within = false;
        let queued = std::mem::take(&mut self.queued);
        self.push(connection, &queued)
    }

    fn pass(&mut self, connection: &Connection, bytes: &[u8]) -> io::Result<()> {
        self.push(connection, bytes)?;
        let n = bytes.len() as u64;
        self.past += n;
        connection.shared.bytes[self.direction as usize].fetch_add(n, Ordering::SeqCst);
        Ok(())
    }

    fn push(&mut self, connection: &Connection, mut bytes: &[u8]) -> io::Result<()> {
        let written = match connection.split.load(Ordering::SeqCst) {
            0 => self.stream.write_all(bytes),
            most => loop {
                if bytes.is_empty() {
                    break Ok(());
                }
                // Uneven, and the same each time.
                let n = (1 + (self.past as usize + bytes.len()) * 7 % most).min(bytes.len());
                if let Err(error) = self.stream.write_all(&bytes[..n]) {
                    break Err(error);
                }
                bytes = &bytes[n..];
            },
        };
        // Once drover is cut off, what the server says goes nowhere, and the server goes on.
        if self.direction == Direction::ToClient && connection.is_orphaned() {
            return Ok(());
        }
        written
    }
}
