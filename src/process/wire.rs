//! What the runner and a supervisor say to each other: frames down, JSON lines up.
//!
//! A frame is one kind byte, the length as four bytes (little endian), the bytes. The end of the file
//! is a message too: the runner is gone, kill everything.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::sandbox::{Refusal, Walls};

/// No frame may be longer; a longer one means that the two ends do not speak the same language.
const LONGEST: u32 = 64 * 1024 * 1024;

/// What to start. The first frame, or the one behind [`Frame::Apart`].
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) argv: Vec<String>,
    pub(super) dir: PathBuf,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) stdout: PathBuf,
    pub(super) stderr: PathBuf,
    pub(super) output_limit: u64,
    pub(super) walls: Option<Walls>,
}

/// One message from the runner.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    /// Before everything else: leave the machine's namespaces, and start the supervisor inside.
    Apart {
        host_network: bool,
    },
    Spec(Box<Spec>),
    /// Bytes for the program's standard input.
    Data(Vec<u8>),
    /// The end of the program's standard input.
    Close,
    /// Begin the stop ladder; 0 milliseconds of grace kill at once.
    Stop {
        grace_ms: u64,
    },
    /// Stop the program and kill everything else; the answer carries the same number.
    Freeze {
        turn: u64,
    },
    /// Let a frozen program go on.
    Thaw,
}

/// One message to the runner.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub(super) enum Status {
    /// The first process of the new namespace, as it is seen from outside. It is the supervisor.
    Apart {
        pid: i32,
        born: u64,
    },
    /// A listening socket is on its way through the channel.
    Listening,
    Started {
        pid: i32,
    },
    Failed {
        kind: Failed,
        message: String,
    },
    Ended {
        ended: super::Ended,
        millis: u64,
    },
    Swept {
        survivors: u32,
        names: Vec<String>,
        left: u32,
        output_cut: bool,
        breach: Option<super::Breach>,
    },
    Frozen {
        turn: u64,
        survivors: u32,
        names: Vec<String>,
        left: u32,
    },
}

/// Why nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Failed {
    NotFound,
    NotExecutable,
    NoDirectory,
    Output,
    Walls,
    Other,
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Failed {
        match refusal {
            Refusal::NotFound => Failed::NotFound,
            Refusal::NotExecutable => Failed::NotExecutable,
            Refusal::NoDirectory => Failed::NoDirectory,
            Refusal::Walls => Failed::Walls,
            Refusal::Other => Failed::Other,
        }
    }
}

impl Frame {
    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        let (kind, body) = match self {
            Frame::Apart { host_network } => (b'A', vec![u8::from(*host_network)]),
            Frame::Spec(spec) => (b'S', serde_json::to_vec(spec)?),
            Frame::Data(bytes) => (b'D', bytes.clone()),
            Frame::Close => (b'C', Vec::new()),
            Frame::Stop { grace_ms } => (b'X', grace_ms.to_le_bytes().to_vec()),
            Frame::Freeze { turn } => (b'F', turn.to_le_bytes().to_vec()),
            Frame::Thaw => (b'T', Vec::new()),
        };
        let length = u32::try_from(body.len()).ok().filter(|length| *length <= LONGEST);
        let length = length.ok_or_else(|| io::Error::other("frame too long"))?;
        let mut frame = vec![kind];
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(&body);
        Ok(frame)
    }

    /// The next frame; `None` when the runner is gone. Half a frame counts as gone.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
        let mut head = [0; 5];
        match from.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        if length > LONGEST {
            return Err(io::Error::other("frame too long"));
        }
        let mut body = vec![0; length as usize];
        if from.read_exact(&mut body).is_err() {
            return Ok(None);
        }
        Ok(Some(match head[0] {
            b'A' => Frame::Apart { host_network: body == [1] },
            b'S' => Frame::Spec(serde_json::from_slice(&body)?),
            b'D' => Frame::Data(body),
            b'C' => Frame::Close,
            b'X' => Frame::Stop { grace_ms: number(body)? },
            b'F' => Frame::Freeze { turn: number(body)? },
            b'T' => Frame::Thaw,
            kind => return Err(io::Error::other(format!("unknown frame kind {kind}"))),
        }))
    }
}

fn number(body: Vec<u8>) -> io::Result<u64> {
    let bytes = body.try_into().map_err(|_| io::Error::other("expected eight bytes"))?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_as_they_were_sent_and_the_end_is_a_message() {
        let frames = [
            Frame::Spec(Box::new(Spec {
                argv: vec!["a b".into(), "→".into()],
                dir: "/".into(),
                environment: BTreeMap::from([("A".into(), "1\n2".into())]),
                stdout: "o".into(),
                stderr: "e".into(),
                output_limit: 7,
                walls: None,
            })),
            Frame::Apart { host_network: true },
            Frame::Apart { host_network: false },
            Frame::Data(vec![0, 255, b'\n']),
            Frame::Stop { grace_ms: 10_000 },
            Frame::Freeze { turn: 3 },
            Frame::Thaw,
            Frame::Close,
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.encode().unwrap()).collect();
        let mut from = &bytes[..];
        for frame in &frames {
            assert_eq!(Frame::read(&mut from).unwrap().as_ref(), Some(frame));
        }
        assert_eq!(Frame::read(&mut from).unwrap(), None);
        assert_eq!(Frame::read(&mut &bytes[..9]).unwrap(), None);
    }

    #[test]
    fn a_strange_frame_is_an_error_and_reserves_no_memory() {
        assert!(Frame::read(&mut &b"?\0\0\0\0"[..]).is_err());
        assert!(Frame::read(&mut &b"D\xff\xff\xff\xff"[..]).is_err());
        assert!(Frame::read(&mut &b"F\x02\0\0\0ab"[..]).is_err());
    }
}
