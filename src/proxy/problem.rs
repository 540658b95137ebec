//! What the proxy itself answers, in the words of the service: the caller knows no other.
//!
//! The forms were tried with Claude Code 2.1.329. `x-should-retry: false` makes it end at once after any
//! status; without it, it asks up to ten times more.

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE},
};
use serde_json::json;

use super::account::Refused;
use crate::ids::NAME;

/// An answer that is not the service's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    message: String,
    /// Whether asking again can help.
    passing: bool,
}

impl Problem {
    fn lasting(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Problem {
        Problem { status, kind, message: message.into(), passing: false }
    }

    /// Nothing of ours is there.
    pub(super) fn unknown_path() -> Problem {
        Problem::lasting(StatusCode::NOT_FOUND, "not_found_error", "this is not passed on")
    }

    /// No account, or one that is closed.
    pub(super) fn no_account() -> Problem {
        Problem::lasting(
            StatusCode::UNAUTHORIZED,
            "authentication_error",
            "there is no open account for this credential",
        )
    }

    /// A name of this machine that a web page chose.
    pub(super) fn strange_host() -> Problem {
        Problem::lasting(
            StatusCode::FORBIDDEN,
            "permission_error",
            "the request is meant for another host",
        )
    }

    /// The question is too long.
    pub(super) fn too_large(most: u32) -> Problem {
        let message = format!("the request is longer than {most} bytes, or was broken off");
        Problem::lasting(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }

    /// The question began and did not go on.
    pub(super) fn slow() -> Problem {
        Problem::lasting(
            StatusCode::REQUEST_TIMEOUT,
            "timeout_error",
            "the request did not come to its end",
        )
    }

    /// The question is packed: what it can cost cannot be seen.
    pub(super) fn packed() -> Problem {
        Problem::lasting(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid_request_error",
            "requests are taken without a content-encoding",
        )
    }

    /// The question cannot be read.
    pub(super) fn unreadable(why: &str) -> Problem {
        Problem::lasting(
            StatusCode::BAD_REQUEST,
            "invalid_request_error",
            format!("the request cannot be read: {why}"),
        )
    }

    /// The account does not allow it. 402 ends Claude Code after this one request and leaves our words in
    /// its result; a message about a credit balance would be replaced by its own.
    pub(super) fn refused(refused: &Refused) -> Problem {
        match refused {
            Refused::Money { .. } | Refused::Tokens { .. } => Problem::lasting(
                StatusCode::PAYMENT_REQUIRED,
                "billing_error",
                format!("{NAME}'s limit, not the service's: {refused}; nothing was sent"),
            ),
            Refused::Unbounded { .. } => Problem::lasting(
                StatusCode::FORBIDDEN,
                "permission_error",
                format!("{NAME}: {refused}; nothing was sent"),
            ),
        }
    }

    /// No connection: the same as for a caller without a proxy.
    pub(super) fn unreachable(message: String) -> Problem {
        Problem { status: StatusCode::BAD_GATEWAY, kind: "api_error", message, passing: true }
    }

    /// An answer that should have come by now.
    pub(super) fn silent() -> Problem {
        Problem {
            status: StatusCode::GATEWAY_TIMEOUT,
            kind: "api_error",
            message: "the service did not answer".to_owned(),
            passing: true,
        }
    }

    /// Instead of an answer of the service that is too long or broken off.
    pub(super) fn instead_of(status: StatusCode) -> Problem {
        let message =
            format!("the service answered {status}, with a text that cannot be passed on");
        Problem { status, kind: "api_error", message, passing: true }
    }

    /// The answer.
    pub(super) fn into_response(self) -> Response<Body> {
        let error = json!({ "type": self.kind, "message": self.message });
        let body = json!({ "type": "error", "error": error });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if !self.passing {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        response
    }
}
