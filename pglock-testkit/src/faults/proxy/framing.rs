//! Finds where PostgreSQL's protocol messages begin and end in a stream of bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Direction;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
/// The server does not accept a longer one either.
const LONGEST_STARTUP: usize = 10_000;
/// 16 KiB, plus what a cipher may add.
const LONGEST_RECORD: usize = 16_384 + 2_048;
const HANDSHAKE_RECORD: u8 = 22;

/// A kind of frame that a [`Proxy`](super::Proxy) recognizes in the bytes that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Frame {
    /// The client asks for TLS.
    SslRequest,
    /// The client asks for GSSAPI encryption.
    GssRequest,
    /// The one-byte answer of the server to [`SslRequest`](Self::SslRequest) or
    /// [`GssRequest`](Self::GssRequest).
    Answer(char),
    /// The client asks to cancel the statement of another connection.
    CancelRequest,
    /// The client's startup message, in plain text.
    Startup,
    /// A message in plain text, by its type: `Q` for a simple query, `D` for a row, and so on.
    Message(char),
    /// A TLS record, by its content type: 22 is the handshake, 23 is encrypted data.
    TlsRecord(u8),
    /// Bytes that the proxy does not recognize; everything after them is unknown, too.
    Unknown,
}

/// A frame found in the scanned bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) frame: Frame,
    pub(super) at: usize,
    pub(super) length: usize,
}

/// Follows one direction of a connection.
#[derive(Debug)]
pub(super) struct Framer {
    direction: Direction,
    phase: Phase,
    /// The rest of the frame that has begun.
    left: usize,
    /// Whether the client waits for the one-byte answer to its request for encryption. Both
    /// directions share it.
    asked: Arc<AtomicBool>,
    pid: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Messages,
    Tls,
    Unknown,
}

impl Framer {
    /// One for each direction of a connection.
    pub(super) fn pair() -> [Self; 2] {
        let asked = Arc::new(AtomicBool::new(false));
        Direction::BOTH.map(|direction| Self {
            direction,
            phase: Phase::Opening,
            left: 0,
            asked: Arc::clone(&asked),
            pid: None,
        })
    }

    /// Returns the frames that begin in `bytes`, and how many of the bytes were used. The head of a
    /// frame is used as a whole or not at all.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> (Vec<Start>, usize) {
        let (mut starts, mut at) = (Vec::new(), 0);
        loop {
            let passed = self.left.min(bytes.len() - at);
            at += passed;
            self.left -= passed;
            if at == bytes.len() {
                return (starts, at);
            }
            let Some((frame, length)) = self.begin(&bytes[at..]) else {
                return (starts, at);
            };
            starts.push(Start { frame, at, length });
            self.left = length;
        }
    }

    /// The server process of the connection, once its pid has passed.
    pub(super) fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// `None` if it needs more bytes to decide.
    fn begin(&mut self, bytes: &[u8]) -> Option<(Frame, usize)> {
        match (self.phase, self.direction) {
            (Phase::Opening, _) if bytes[0] == HANDSHAKE_RECORD => self.enter(Phase::Tls, bytes),
            (Phase::Opening, Direction::ToServer) => self.opening(bytes),
            (Phase::Opening, Direction::ToClient) => match (self.is_asked(), bytes[0]) {
                (true, b'S') => self.answered('S', Phase::Tls),
                (true, b'G') => self.answered('G', Phase::Unknown),
                (true, b'N') => self.answered('N', Phase::Opening),
                _ => self.enter(Phase::Messages, bytes),
            },
            (Phase::Messages, _) => self.message(bytes),
            (Phase::Tls, _) => self.record(bytes),
            (Phase::Unknown, _) => self.unknown(),
        }
    }

    fn enter(&mut self, phase: Phase, bytes: &[u8]) -> Option<(Frame, usize)> {
        self.phase = phase;
        self.begin(bytes)
    }

    fn opening(&mut self, bytes: &[u8]) -> Option<(Frame, usize)> {
        let (length, code) = (number(bytes, 0)? as usize, number(bytes, 4)?);
        if !(8..=LONGEST_STARTUP).contains(&length) {
            return self.unknown();
        }
        let frame = match code {
            SSL_REQUEST | GSS_REQUEST => {
                self.asked.store(true, Ordering::SeqCst);
                if code == SSL_REQUEST { Frame::SslRequest } else { Frame::GssRequest }
            }
            CANCEL_REQUEST => Frame::CancelRequest,
            _ if code >> 16 == 3 => {
                self.phase = Phase::Messages;
                Frame::Startup
            }
            _ => return self.unknown(),
        };
        Some((frame, length))
    }

    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    fn answered(&mut self, answer: char, phase: Phase) -> Option<(Frame, usize)> {
        self.asked.store(false, Ordering::SeqCst);
        self.phase = phase;
        Some((Frame::Answer(answer), 1))
    }

    fn message(&mut self, bytes: &[u8]) -> Option<(Frame, usize)> {
        let (tag, length) = (char::from(bytes[0]), number(bytes, 1)? as usize);
        if !tag.is_ascii_graphic() || length < 4 {
            return self.unknown();
        }
        // BackendKeyData.
        if self.direction == Direction::ToClient && tag == 'K' && length >= 8 {
            self.pid = Some(number(bytes, 5)?.cast_signed());
        }
        Some((Frame::Message(tag), 1 + length))
    }

    fn record(&mut self, bytes: &[u8]) -> Option<(Frame, usize)> {
        let head = bytes.get(..5)?;
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if !(20..=24).contains(&head[0]) || head[1] != 3 || length > LONGEST_RECORD {
            return self.unknown();
        }
        Some((Frame::TlsRecord(head[0]), 5 + length))
    }

    fn unknown(&mut self) -> Option<(Frame, usize)> {
        self.phase = Phase::Unknown;
        Some((Frame::Unknown, usize::MAX))
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|number| u32::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup(code: u32, rest: &[u8]) -> Vec<u8> {
        let length = u32::try_from(8 + rest.len()).unwrap();
        [&length.to_be_bytes()[..], &code.to_be_bytes(), rest].concat()
    }

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(4 + body.len()).unwrap();
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    /// Feeds the bytes in pieces of every size. The size must not matter.
    fn frames(bytes: &[u8], framer: impl Fn() -> Framer) -> Vec<Frame> {
        let in_pieces = |size: usize| {
            let (mut framer, mut found, mut carry) = (framer(), Vec::new(), Vec::new());
            for piece in bytes.chunks(size) {
                carry.extend_from_slice(piece);
                let (starts, used) = framer.scan(&carry);
                carry.drain(..used);
                found.extend(starts.into_iter().map(|start| start.frame));
            }
            assert!(carry.is_empty());
            found
        };
        let whole = in_pieces(bytes.len());
        for size in 1..bytes.len() {
            assert_eq!(in_pieces(size), whole, "in pieces of {size}");
        }
        whole
    }

    fn to_server() -> Framer {
        let [framer, _] = Framer::pair();
        framer
    }

    fn to_client(asked: bool) -> Framer {
        let [_, framer] = Framer::pair();
        framer.asked.store(asked, Ordering::SeqCst);
        framer
    }

    #[test]
    fn a_plain_session_is_read() {
        let client = [
            startup(SSL_REQUEST, &[]),
            startup(3 << 16, b"user\0me\0\0"),
            message(b'Q', b"SELECT 1\0"),
            message(b'X', &[]),
        ];
        assert_eq!(
            frames(&client.concat(), to_server),
            [Frame::SslRequest, Frame::Startup, Frame::Message('Q'), Frame::Message('X')]
        );
        let server = [
            b"N".to_vec(),
            message(b'R', &[0; 4]),
            message(b'K', &[0, 0, 4, 210, 9, 9, 9, 9]),
            message(b'Z', b"I"),
        ];
        assert_eq!(
            frames(&server.concat(), || to_client(true)),
            [Frame::Answer('N'), Frame::Message('R'), Frame::Message('K'), Frame::Message('Z')]
        );
        let mut framer = to_client(true);
        framer.scan(&server.concat());
        assert_eq!(framer.pid(), Some(1234));
    }

    #[test]
    fn behind_tls_there_are_only_records() {
        let record = |kind| [&[kind, 3, 3, 0, 4][..], b"QQQQ"].concat();
        let client = [startup(SSL_REQUEST, &[]), record(22), record(23), record(23)].concat();
        let seen =
            [Frame::SslRequest, Frame::TlsRecord(22), Frame::TlsRecord(23), Frame::TlsRecord(23)];
        assert_eq!(frames(&client, to_server), seen);
        assert_eq!(frames(&client[8..], to_server), seen[1..]);
        let server = [b"S".to_vec(), record(22), record(23)].concat();
        assert_eq!(
            frames(&server, || to_client(true)),
            [Frame::Answer('S'), Frame::TlsRecord(22), Frame::TlsRecord(23)]
        );
    }

    #[test]
    fn plain_text_behind_tls_is_recognized() {
        let bytes =
            [startup(SSL_REQUEST, &[]), vec![22, 3, 1, 0, 1, 0], message(b'p', b"secret\0")];
        assert_eq!(
            frames(&bytes.concat(), to_server),
            [Frame::SslRequest, Frame::TlsRecord(22), Frame::Unknown]
        );
    }

    #[test]
    fn strangers_are_recognized() {
        assert_eq!(frames(b"GET / HTTP/1.1\r\n\r\n", to_server), [Frame::Unknown]);
        assert_eq!(frames(b"HTTP/1.1 200 OK\r\n\r\n", || to_client(false)), [Frame::Message('H')]);
        assert_eq!(frames(&startup(CANCEL_REQUEST, &[0; 8]), to_server), [Frame::CancelRequest]);
    }
}
