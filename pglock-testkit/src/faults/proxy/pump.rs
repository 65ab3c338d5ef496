//! Copies the bytes of a connection.

use std::io;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::alarm::Alarm;
use super::connection::Shared;
use super::framing::{Framer, Start};
use super::line::{Line, Pass};

/// Chunks that the proxy keeps per direction. Beyond them it stops reading from a stalled sender.
const QUEUE: usize = 4_096;
const CHUNK: usize = 16 * 1_024;

/// The result of one read.
struct Chunk {
    due: Instant,
    content: Content,
}

enum Content {
    Bytes(Vec<u8>, Vec<Start>),
    /// The sender has closed its side.
    End,
    Reset,
}

/// A connection that did not end by both sides closing it.
enum Broken {
    Cut,
    Reset,
}

/// Returns when the connection has ended.
pub(super) async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    connection: &Shared,
    alarm: &Alarm,
) {
    let broken = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let [up, down] = Framer::pair();
        tokio::select! {
            ended = async {
                tokio::try_join!(
                    pump(from_client, to_server, up, &connection.to_server, connection, alarm),
                    pump(from_server, to_client, down, &connection.to_client, connection, alarm),
                )
            } => ended.err(),
            () = connection.until_reset() => Some(Broken::Reset),
        }
    };
    if let Some(Broken::Reset) = broken {
        // A socket that is already closed needs no reset.
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

async fn pump(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    framer: Framer,
    line: &Line,
    connection: &Shared,
    alarm: &Alarm,
) -> Result<(), Broken> {
    let (queue, queued) = mpsc::channel(QUEUE);
    let reading = async {
        read(from, framer, queue, line, connection).await;
        Ok(())
    };
    tokio::try_join!(reading, write(to, queued, line, alarm)).map(drop)
}

async fn read(
    mut from: ReadHalf<'_>,
    mut framer: Framer,
    queue: mpsc::Sender<Chunk>,
    line: &Line,
    connection: &Shared,
) {
    let (mut buffer, mut unread) = (vec![0; CHUNK], Vec::new());
    loop {
        let read = from.read(&mut buffer).await;
        let due = Instant::now() + line.delay();
        let mut contents = Vec::new();
        match read {
            Ok(0) => {
                // The bytes may end within the head of a frame.
                contents.push(Content::Bytes(std::mem::take(&mut unread), Vec::new()));
                contents.push(Content::End);
            }
            Ok(length) => {
                unread.extend_from_slice(&buffer[..length]);
                let (starts, used) = framer.scan(&unread);
                let bytes: Vec<u8> = unread.drain(..used).collect();
                line.saw(&bytes, &starts);
                connection.learn(framer.pid());
                contents.push(Content::Bytes(bytes, starts));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => contents.push(Content::Reset),
        }
        for content in contents {
            let last = !matches!(content, Content::Bytes(..));
            if queue.send(Chunk { due, content }).await.is_err() || last {
                return;
            }
        }
    }
}

async fn write(
    mut to: WriteHalf<'_>,
    mut queue: mpsc::Receiver<Chunk>,
    line: &Line,
    alarm: &Alarm,
) -> Result<(), Broken> {
    loop {
        let chunk = tokio::select! {
            chunk = queue.recv() => chunk,
            () = line.until_closed() => None,
        };
        let Some(chunk) = chunk else { break };
        alarm.until(chunk.due).await;
        let passed = match chunk.content {
            Content::Bytes(bytes, starts) => forward(&mut to, &bytes, &starts, line).await?,
            Content::End | Content::Reset if line.pass(&[]).await == Pass::Nothing => false,
            Content::End => false,
            Content::Reset => return Err(Broken::Reset),
        };
        if !passed {
            break;
        }
    }
    let _ = to.shutdown().await;
    // Whatever else the sender says is lost, but not its end.
    while let Some(chunk) = queue.recv().await {
        if let Content::Reset = chunk.content {
            return Err(Broken::Reset);
        }
    }
    Ok(())
}

/// `false` if the receiver accepts no more.
async fn forward(
    to: &mut WriteHalf<'_>,
    mut bytes: &[u8],
    starts: &[Start],
    line: &Line,
) -> Result<bool, Broken> {
    let (mut starts, mut passed) = (starts.to_vec(), 0);
    loop {
        let pass = line.pass(&starts).await;
        let until = match pass {
            Pass::All => passed + bytes.len(),
            Pass::Hold { at, .. } => at,
            Pass::Cut { at } => at.min(passed + bytes.len()),
            Pass::Nothing => return Ok(false),
        };
        let (now, later) = bytes.split_at(until - passed);
        // A side that has closed reports that itself, in the other direction.
        if to.write_all(now).await.is_err() {
            return Ok(false);
        }
        match pass {
            Pass::All | Pass::Nothing => return Ok(true),
            Pass::Cut { .. } => return Err(Broken::Cut),
            Pass::Hold { at, tag } => {
                line.released(tag).await;
                (bytes, passed) = (later, at);
                // The frame at that position has been released.
                starts.retain(|start| start.at > at);
            }
        }
    }
}
