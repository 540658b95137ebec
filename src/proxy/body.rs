//! Requests as a whole, and how much memory all of them together may take: an agent that sends the longest
//! ones on every connection waits for its own, and does not press the runner.
//!
//! Never reads what is longer than one request may be, and never waits for a body that does not come.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, header::CONTENT_LENGTH},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::problem::Problem;

/// The service itself takes 32 MB.
const LONGEST: u32 = 64 * 1024 * 1024;
/// Bytes of all requests that are held at a time, whoever sends them.
const ALL: usize = 256 * 1024 * 1024;
/// And those of one account: another agent's questions do not wait behind it.
const ACCOUNT: usize = ALL / 2;
/// From the first byte of a request to its last. On this machine the longest takes less than a second.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Room for requests, in bytes. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Room {
    /// Of the whole proxy.
    pub(super) fn of_all() -> Room {
        Room(Arc::new(Semaphore::new(ALL)))
    }

    /// Of one account.
    pub(super) fn of_account() -> Room {
        Room(Arc::new(Semaphore::new(ACCOUNT)))
    }

    async fn take(&self, bytes: u32) -> OwnedSemaphorePermit {
        self.0.clone().acquire_many_owned(bytes).await.expect("it is never closed")
    }
}

/// A request that was read, and its place in both rooms.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    pub(super) place: [OwnedSemaphorePermit; 2],
}

/// Waits for room, and reads a body. The room is taken whole before the first byte is read, so that requests
/// that were half read never wait for each other.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    account: &Room,
    all: &Room,
    patience: Duration,
) -> Result<Held, Problem> {
    let too_large = || Problem::too_large(LONGEST);
    // The server has refused a length that is no number, and holds the body to it.
    let told = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let room: u32 = told.unwrap_or(u64::from(LONGEST)).try_into().map_err(|_| too_large())?;
    if room > LONGEST {
        return Err(too_large());
    }
    let mut place = [account.take(room).await, all.take(room).await];
    let longest = usize::try_from(room).expect("32 bits at least");
    let read = timeout(patience, to_bytes(body, longest)).await;
    let bytes = read.map_err(|_| Problem::slow())?.map_err(|_| too_large())?;
    for place in &mut place {
        drop(place.split(longest.saturating_sub(bytes.len())));
    }
    Ok(Held { bytes, place })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(bytes: &str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_LENGTH, bytes.parse().unwrap())])
    }

    #[tokio::test]
    async fn a_request_holds_its_own_length_and_gives_it_back() {
        let (account, all) = (Room::of_account(), Room::of_all());
        let before = all.0.available_permits();
        for headers in [length("5"), HeaderMap::new()] {
            let held = read(&headers, Body::from("12345"), &account, &all, PATIENCE).await.unwrap();
            assert_eq!(held.bytes, "12345");
            assert_eq!(all.0.available_permits(), before - 5);
        }
        assert_eq!((all.0.available_permits(), account.0.available_permits()), (ALL, ACCOUNT));
    }

    #[tokio::test]
    async fn one_account_cannot_take_the_room_of_the_others() {
        let (one, other, all) = (Room::of_account(), Room::of_account(), Room::of_all());
        let never = || Body::new(Never);
        let taken = [(), ()].map(|()| {
            let (one, all) = (one.clone(), all.clone());
            tokio::spawn(
                async move { read(&HeaderMap::new(), never(), &one, &all, PATIENCE).await },
            )
        });
        while one.0.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let short = length("1");
        let third = read(&short, Body::from("x"), &one, &all, PATIENCE);
        assert!(timeout(Duration::from_millis(50), third).await.is_err(), "it waits");
        let held = read(&short, Body::from("x"), &other, &all, PATIENCE).await.unwrap();
        assert_eq!(held.bytes, "x");
        for task in taken {
            task.abort();
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        let (account, all) = (Room::of_account(), Room::of_all());
        let moment = Duration::from_millis(10);
        let five = length("5");
        let read = read(&five, Body::new(Never), &account, &all, moment);
        assert_eq!(read.await.unwrap_err(), Problem::slow());
        assert_eq!(all.0.available_permits(), ALL);
    }

    /// A body that never comes.
    struct Never;

    impl http_body::Body for Never {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }
}
