//! HTTP/2 frame by frame, for what no client library would do.

use std::{io, sync::Arc};

use rustls::ClientConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::{
    broker::Broker,
    raw::{tls_config_of, tls_stream},
};

/// Says that HTTP/2 is spoken, with empty settings (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// Kinds of frames (RFC 9113 §6).
pub mod kind {
    /// A part of a body.
    pub const DATA: u8 = 0;
    /// Opens a stream, answers it or ends it.
    pub const HEADERS: u8 = 1;
    /// Ends one stream at once.
    pub const RST_STREAM: u8 = 3;
    /// What the other side may do.
    pub const SETTINGS: u8 = 4;
    /// Ends the connection.
    pub const GOAWAY: u8 = 7;
}

/// One connection, spoken by hand.
pub struct Frames(TlsStream<TcpStream>);

/// A frame as it came.
#[derive(Debug)]
pub struct Frame {
    /// One of [`kind`], or another.
    pub kind: u8,
    /// The stream, or 0 for the connection.
    pub stream: u32,
    /// Whether it says that nothing more comes on its stream.
    pub ends: bool,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of a `RST_STREAM` or `GOAWAY`.
    pub fn error(&self) -> u32 {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// A value of `SETTINGS`.
    pub fn setting(&self, name: u16) -> Option<u32> {
        let mut pairs = self.payload.chunks_exact(6);
        let found = pairs.rfind(|pair| pair[..2] == name.to_be_bytes());
        found.map(|pair| u32::from_be_bytes(pair[2..].try_into().unwrap()))
    }
}

impl Frames {
    /// Connects as one of the example's people, or without a certificate.
    pub async fn connect(broker: &Broker, who: Option<&str>) -> Result<Self, String> {
        Self::connect_by(broker, &tls_config_of(broker, who)).await
    }

    /// The same for many: the files are read once.
    pub async fn connect_by(broker: &Broker, how: &Arc<ClientConfig>) -> Result<Self, String> {
        Self::over(tls_stream(broker, how).await?).await
    }

    /// Over a connection that is there.
    pub async fn over(stream: TlsStream<TcpStream>) -> Result<Self, String> {
        let mut frames = Self(stream);
        frames.write(PREFACE).await.map_err(|error| error.to_string())?;
        Ok(frames)
    }

    /// Sends what was put together.
    pub async fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        self.0.write_all(frames).await?;
        self.0.flush().await
    }

    /// Takes the next frame; settings are acknowledged by the way.
    pub async fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, d, e, f, g] = head;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap();
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await?;
        if kind == kind::SETTINGS && flags & ACK == 0 {
            self.write(&frame(kind::SETTINGS, ACK, 0, &[])).await?;
        }
        let ends = matches!(kind, kind::DATA | kind::HEADERS) && flags & END_STREAM != 0;
        Ok(Frame { kind, stream: u32::from_be_bytes([d & 0x7f, e, f, g]), ends, payload })
    }

    /// Reads until a frame fits.
    pub async fn read_until(&mut self, fits: impl Fn(&Frame) -> bool) -> io::Result<Frame> {
        loop {
            let frame = self.read().await?;
            if fits(&frame) {
                return Ok(frame);
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Opens a stream with a gRPC call whose body is still to come.
pub fn call(stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in usual.iter().chain(more) {
        // A literal that neither side remembers (RFC 7541 §6.2.2).
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    frame(kind::HEADERS, END_HEADERS, stream, &block)
}

/// A length of HPACK (RFC 7541 §5.1), without Huffman coding.
fn length(block: &mut Vec<u8>, of: usize) {
    let Some(mut rest) = of.checked_sub(127) else {
        block.push(u8::try_from(of).unwrap());
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// The whole body of a call: one message.
pub fn body(stream: u32, message: &[u8]) -> Vec<u8> {
    frame(kind::DATA, END_STREAM, stream, message)
}

/// Takes a call back.
pub fn reset(stream: u32) -> Vec<u8> {
    const CANCEL: u32 = 8;
    frame(kind::RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}
