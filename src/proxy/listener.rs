//! Connections to a server of ours, at most so many at a time: a program that opens them without end takes its
//! own places, not the files that the runner needs for its journal.
//!
//! Each entrance can be closed, and then its connections break: nothing waits for a caller that never goes.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, serve::Listener};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

/// Claude Code keeps a handful open for each conversation. Each call takes a second file towards the
/// service, and many systems give a process 1,024.
const MOST_CONNECTIONS: usize = 128;

/// Holds an entrance open. Dropped, nobody is let in any more, and the connections of those who were break.
#[derive(Debug, Default)]
pub(crate) struct Open(watch::Sender<()>);

/// The other end of one or several [`Open`]: it comes when the first of them is dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct End(Vec<watch::Receiver<()>>);

impl Open {
    /// What comes when this is dropped, or when `other` comes.
    pub(crate) fn end(&self, other: End) -> End {
        let mut all = other.0;
        all.push(self.0.subscribe());
        End(all)
    }
}

impl End {
    /// Comes back at the end.
    async fn wait(self) {
        let mut open: Vec<_> = self.0.into_iter().map(|open| Box::pin(gone(open))).collect();
        std::future::poll_fn(|cx| {
            let any = open.iter_mut().any(|one| one.as_mut().poll(cx).is_ready());
            if any { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

async fn gone(mut open: watch::Receiver<()>) {
    // Nothing is ever sent: an error says that the other end was dropped.
    while open.changed().await.is_ok() {}
}

/// Serves a listener until its end. Must be called on the runtime that is to carry it.
pub(crate) fn serve(listener: TcpListener, router: Router, end: End) {
    let limited =
        Limited { listener, places: Arc::new(Semaphore::new(MOST_CONNECTIONS)), end: end.clone() };
    tokio::spawn(async move {
        // Problems of single connections are their own; accepting goes on.
        let _ = axum::serve(limited, router).with_graceful_shutdown(end.wait()).await;
    });
}

struct Limited {
    listener: TcpListener,
    places: Arc<Semaphore>,
    end: End,
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = self.places.clone().acquire_owned().await.expect("it is never closed");
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        // Words are passed on as they come. That it cannot be set only makes them later.
        let _ = stream.set_nodelay(true);
        let end = Box::pin(self.end.clone().wait());
        (Connection { stream, end: Some(end), _place: place }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection and its place.
struct Connection {
    stream: TcpStream,
    /// `None` when it has come.
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// An error once the entrance is closed.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready()) {
            self.end = None;
        }
        if self.end.is_some() { Ok(()) } else { Err(io::ErrorKind::ConnectionAborted.into()) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
