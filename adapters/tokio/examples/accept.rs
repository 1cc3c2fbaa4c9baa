//! A broker that listens nowhere: the program brings connections, also streams that are no sockets.
//! `cargo run -p metronome-tokio --example accept`, on Unix.

#[cfg(unix)]
mod unix {
    use metronome_tokio::host::engine::ListenerId;
    use metronome_tokio::{AllowAll, Broker, BrokerHandle};
    use std::io;
    use std::os::unix::net::UnixStream as Pair;
    use std::time::Duration;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
    use tokio::net::{TcpListener, TcpStream, UnixStream};

    const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c";
    const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

    /// Has the broker serve any stream of bytes: one end of a pair is its socket, and what the other end says is copied.
    async fn serve(broker: &BrokerHandle, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let (ours, its) = Pair::pair()?;
        broker.accept(ListenerId(0), its, None)?;
        ours.set_nonblocking(true)?;
        copy_bidirectional(&mut stream, &mut UnixStream::from_std(ours)?).await.map(drop)
    }

    /// Connects, and says goodbye.
    async fn be_a_client(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<bool> {
        stream.write_all(CONNECT).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        stream.write_all(b"\xe0\x00").await?;
        Ok(answer == CONNACK)
    }

    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn main() -> io::Result<()> {
        let broker = Broker::builder().listen("program").hook(AllowAll).start();
        let broker = broker.map_err(io::Error::other)?;

        // A socket that the program has accepted goes to the broker as it is.
        let own = TcpListener::bind("127.0.0.1:0").await?;
        let mut client = TcpStream::connect(own.local_addr()?).await?;
        let (accepted, peer) = own.accept().await?;
        broker.accept(ListenerId(0), accepted.into_std()?, Some(peer))?;
        println!("over a socket: accepted {}", be_a_client(&mut client).await?);

        // This one is memory; a channel of SSH or of QUIC would do as well.
        let (mut client, stream) = tokio::io::duplex(1024);
        let (served, accepted) = tokio::join!(serve(&broker, stream), async {
            let accepted = be_a_client(&mut client).await;
            drop(client);
            accepted
        });
        served?;
        println!("over memory: accepted {}", accepted?);
        broker.shutdown(Duration::from_secs(1));
        Ok(())
    }
}

#[cfg(unix)]
fn main() -> std::io::Result<()> {
    unix::main()
}

#[cfg(not(unix))]
fn main() {}
