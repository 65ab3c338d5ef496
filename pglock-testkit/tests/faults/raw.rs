//! A client that sees every byte and the end of its connection.

use std::error::Error;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct RawClient {
    stream: TcpStream,
}

impl RawClient {
    /// Logs in to a server that needs no password.
    pub(crate) async fn connect(url: &str) -> Result<Self, Box<dyn Error>> {
        let (_, rest) = url.split_once('@').ok_or("no user")?;
        let (address, database) = rest.split_once('/').ok_or("no database")?;
        let mut client = Self { stream: TcpStream::connect(address).await? };
        let parameters = format!("user\0test\0database\0{database}\0\0");
        let mut startup = Vec::new();
        startup.extend(u32::try_from(8 + parameters.len())?.to_be_bytes());
        startup.extend((3_u32 << 16).to_be_bytes());
        startup.extend(parameters.as_bytes());
        client.stream.write_all(&startup).await?;
        client.until('Z').await?;
        Ok(client)
    }

    pub(crate) async fn query(&mut self, statement: &str) -> io::Result<()> {
        let mut message = vec![b'Q'];
        let length = u32::try_from(4 + statement.len() + 1).map_err(io::Error::other)?;
        message.extend(length.to_be_bytes());
        message.extend(statement.as_bytes());
        message.push(0);
        self.stream.write_all(&message).await
    }

    /// The next message, including its head.
    pub(crate) async fn message(&mut self) -> io::Result<Vec<u8>> {
        let mut message = vec![0; 5];
        self.stream.read_exact(&mut message).await?;
        let length = u32::from_be_bytes([message[1], message[2], message[3], message[4]]);
        message.resize(1 + length as usize, 0);
        self.stream.read_exact(&mut message[5..]).await?;
        Ok(message)
    }

    /// Reads messages up to one of that type.
    pub(crate) async fn until(&mut self, tag: char) -> io::Result<()> {
        while char::from(self.message().await?[0]) != tag {}
        Ok(())
    }

    /// Everything that arrives until the end.
    pub(crate) async fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await?;
        Ok(rest)
    }
}
