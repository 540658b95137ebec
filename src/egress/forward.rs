//! One request to the forward proxy: a tunnel (`CONNECT host:port`), or a page of `http://`.

use std::{fmt::Display, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{
        HeaderValue, Method, Response, StatusCode, Uri,
        header::{CONTENT_TYPE, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION},
        uri::PathAndQuery,
    },
};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{io::copy_bidirectional, net::TcpStream};

use super::{
    Refusals, Why,
    guard::{Closed, Guard},
};
use crate::{hosts::Target, ids::NAME, proxy::end_to_end};

/// What requests through one entrance share.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) guard: Arc<Guard>,
    pub(super) refusals: Refusals,
    /// What `Proxy-Authorization` must be; `None` where only our programs can come.
    pub(super) login: Option<String>,
}

/// Takes every request.
pub(super) async fn forward(
    State(entrance): State<Arc<Entrance>>,
    request: Request,
) -> Response<Body> {
    let asked = request.uri().to_string();
    let why = match entrance.pass_on(request).await {
        Ok(response) => return response,
        Err(Closed::Failed(message)) => return said(StatusCode::BAD_GATEWAY, &message),
        Err(Closed::Refused(why)) => why,
    };
    entrance.refusals.note(&asked, &why);
    let message = format!("{NAME} does not pass this on: {asked}: {why}");
    match why {
        Why::NotListed | Why::Private(_) => said(StatusCode::FORBIDDEN, &message),
        Why::NoTarget => said(StatusCode::BAD_REQUEST, &message),
        Why::NoLogin => {
            let mut response = said(StatusCode::PROXY_AUTHENTICATION_REQUIRED, &message);
            let basic = HeaderValue::from_static("Basic realm=\"proxy\"");
            response.headers_mut().insert(PROXY_AUTHENTICATE, basic);
            response
        }
    }
}

impl Entrance {
    async fn pass_on(&self, request: Request) -> Result<Response<Body>, Closed> {
        let shown = request.headers().get(PROXY_AUTHORIZATION).map(HeaderValue::as_bytes);
        if self.login.as_ref().is_some_and(|login| shown != Some(login.as_bytes())) {
            return Err(Closed::Refused(Why::NoLogin));
        }
        let tunnel = request.method() == Method::CONNECT;
        let uri = request.uri();
        let target = match (uri.authority(), uri.scheme_str()) {
            (Some(authority), None) if tunnel => Target::read(authority.as_str(), None),
            (Some(authority), Some("http")) if !tunnel => {
                Target::read(authority.as_str(), Some(80))
            }
            (Some(_) | None, _) => None,
        };
        let target = target.ok_or(Closed::Refused(Why::NoTarget))?;
        let stream = self.guard.connect(&target).await?;
        if tunnel {
            tokio::spawn(carry(request, stream));
            Ok(Response::new(Body::empty()))
        } else {
            fetch(request, &target, stream).await.map_err(|error| {
                Closed::Failed(format!("no answer from {target}: {}", crate::http::reason(&error)))
            })
        }
    }
}

/// Carries bytes both ways until one side ends. The program's side breaks when its entrance is closed.
async fn carry(request: Request, mut stream: TcpStream) {
    // Without an upgrade the program went away: there is nobody to tell.
    if let Ok(upgraded) = hyper::upgrade::on(request).await {
        let _ = copy_bidirectional(&mut TokioIo::new(upgraded), &mut stream).await;
    }
}

/// Asks a server for one page, on a connection of its own. Which server it is says the request's line, and
/// not its `Host`.
async fn fetch(
    request: Request,
    target: &Target,
    stream: TcpStream,
) -> Result<Response<Body>, hyper::Error> {
    let (mut head, body) = request.into_parts();
    let port = Some(target.port).filter(|port| *port != 80);
    let host = port.map_or(target.host.to_string(), |_| target.to_string());
    head.headers = end_to_end(&head.headers);
    head.headers.insert(HOST, HeaderValue::try_from(host).expect("a host has no odd characters"));
    let path = head.uri.path_and_query().cloned();
    head.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer, or when nobody reads the answer any more.
    tokio::spawn(connection);
    let answer = sender.send_request(Request::from_parts(head, body)).await?;
    let (mut head, body) = answer.into_parts();
    head.headers = end_to_end(&head.headers);
    Ok(Response::from_parts(head, Body::new(body)))
}

/// What we say ourselves, for whoever reads a program's output.
fn said(status: StatusCode, message: &dyn Display) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{message}\n")));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
