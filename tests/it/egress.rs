//! The forward proxy of gates, from outside: programs on real sockets, and servers of ours on loopback, which
//! an entry has to name literally.

use std::{net::SocketAddr, time::Duration};

use nightshift::egress::{Egress, Refusal, Why, variables};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::service::Service;

const SOON: Duration = Duration::from_secs(5);

fn egress(allowed: &[String]) -> Egress {
    Egress::new(allowed.iter().map(|entry| entry.parse().unwrap()).collect())
}

/// A listener such as a sandbox hands out, and its address.
fn inside() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Says everything back, in capitals.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 1024];
                while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                    let said = bytes[..length].to_ascii_uppercase();
                    stream.write_all(&said).await.unwrap();
                }
            });
        }
    });
    address
}

/// What is answered to these bytes, until the head is there.
async fn head(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = async {
        while !answer.contains("\r\n\r\n") {
            let byte = stream.read_u8().await.unwrap();
            answer.push(char::from(byte));
        }
    };
    timeout(SOON, read).await.expect("an answer");
    answer
}

async fn said(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut bytes = vec![0; text.len()];
    timeout(SOON, stream.read_exact(&mut bytes)).await.expect("an echo").unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn ended(stream: &mut TcpStream) {
    let end = timeout(SOON, stream.read(&mut [0; 16])).await.expect("the connection ends");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn a_tunnel_leads_to_a_host_that_is_listed_and_ends_with_its_entrance() {
    let server = echo().await;
    let egress = egress(&[server.to_string()]);
    let (listener, address) = inside();
    let attached = egress.attach(listener).unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let answer = head(&mut stream, &format!("CONNECT {server} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(said(&mut stream, "hello").await, "HELLO");
    assert_eq!(said(&mut stream, "again").await, "AGAIN");
    let mut idle = TcpStream::connect(address).await.unwrap();
    drop(attached);
    ended(&mut stream).await;
    ended(&mut idle).await;
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, closed).await.expect("nobody listens any more");
    assert_eq!(egress.refusals(), []);
}

#[tokio::test]
async fn what_is_said_first_and_the_end_of_one_side_pass_a_tunnel_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let egress = egress(&[server.to_string()]);
    let (inner, address) = inside();
    let _attached = egress.attach(inner).unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A client may begin before it has its answer.
    let request = format!("CONNECT {server} HTTP/1.1\r\nhost: {server}\r\n\r\nearly");
    assert!(head(&mut stream, &request).await.starts_with("HTTP/1.1 200 "));
    stream.shutdown().await.unwrap();
    let (mut other, _) = timeout(SOON, listener.accept()).await.expect("a connection").unwrap();
    let mut heard = String::new();
    timeout(SOON, other.read_to_string(&mut heard)).await.expect("its end").unwrap();
    assert_eq!(heard, "early");
    other.write_all(b"late").await.unwrap();
    drop(other);
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.expect("its end").unwrap();
    assert_eq!(answer, "late");
}

#[tokio::test]
async fn a_page_is_fetched_from_the_host_of_the_line_and_from_no_other() {
    let service = Service::start().await;
    let server = service.url.replace("http://", "");
    let egress = egress(std::slice::from_ref(&server));
    let (listener, address) = inside();
    let _attached = egress.attach(listener).unwrap();
    service.will_answer(200, "{}");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST http://{server}/a/b?c=d HTTP/1.1\r\nhost: evil.example\r\nproxy-authorization: Basic x\r\n\
         proxy-connection: keep-alive\r\nx-mine: 1\r\ncontent-length: 4\r\n\r\nbody"
    );
    let answer = head(&mut stream, &request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let asked = service.asked().remove(0);
    assert_eq!((asked.target.as_str(), &asked.body[..]), ("POST /a/b?c=d", &b"body"[..]));
    assert_eq!(asked.headers["host"], server.as_str());
    assert_eq!(asked.headers["x-mine"], "1");
    assert!(!asked.headers.contains_key("proxy-authorization"));
    assert!(!asked.headers.contains_key("proxy-connection"));
}

#[tokio::test]
async fn everything_else_is_refused_and_told() {
    let server = echo().await;
    let port = server.port();
    // A name is listed with the port of our server, and resolves to this machine.
    let egress =
        egress(&[format!("localhost:{port}"), "*.example.org".into(), "127.0.0.1:1".into()]);
    let (listener, address) = inside();
    let _attached = egress.attach(listener).unwrap();
    let loopback = format!("localhost:{port}");
    for (line, status, why) in [
        ("CONNECT evil.example:443".to_owned(), 403, Why::NotListed),
        ("CONNECT www.example.org:22".into(), 403, Why::NotListed),
        ("CONNECT example.org.evil.example:443".into(), 403, Why::NotListed),
        ("CONNECT 169.254.169.254:80".into(), 403, Why::NotListed),
        (format!("CONNECT 127.0.0.1:{port}"), 403, Why::NotListed),
        (format!("CONNECT 2130706433:{port}"), 403, Why::NotListed),
        (format!("CONNECT [::ffff:127.0.0.1]:{port}"), 403, Why::NotListed),
        (format!("CONNECT [::1]:{port}"), 403, Why::NotListed),
        ("GET http://169.254.169.254/latest/meta-data/".into(), 403, Why::NotListed),
        ("GET http://user:pass@www.example.org/".into(), 400, Why::NoTarget),
        ("GET https://www.example.org/".into(), 400, Why::NoTarget),
        ("GET ftp://www.example.org/".into(), 400, Why::NoTarget),
        ("GET /".into(), 400, Why::NoTarget),
        (format!("CONNECT {loopback}"), 403, Why::Private([127, 0, 0, 1].into())),
        (format!("GET http://LOCALHOST.:{port}/"), 403, Why::Private([127, 0, 0, 1].into())),
    ] {
        let before = egress.refusals().len();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nhost: www.example.org\r\n\r\n");
        let answer = head(&mut stream, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
        let told = egress.refusals().split_off(before);
        let [Refusal { target, why: told, times: 1 }] = &told[..] else {
            panic!("{line}: {told:?}")
        };
        let private =
            matches!((told, &why), (Why::Private(one), Why::Private(_)) if one.is_loopback());
        assert!(*told == why || private, "{line}: {told:?}");
        assert!(line.contains(target.as_str()), "{line}: {target}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_there_is_no_refusal() {
    let nobody = inside().1;
    let egress = egress(&[nobody.to_string()]);
    let (listener, address) = inside();
    let _attached = egress.attach(listener).unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let answer = head(&mut stream, &format!("CONNECT {nobody} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!(egress.refusals(), []);
}

#[tokio::test]
async fn on_the_machines_loopback_only_our_programs_are_let_in() {
    let service = Service::start().await;
    let egress = egress(&[service.url.replace("http://", "")]);
    let door = egress.listen().await.unwrap();
    let url = door.variables().into_iter().find(|(name, _)| name == "http_proxy").unwrap().1;
    let client = |proxy: &str| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let proxy = reqwest::Proxy::http(proxy).unwrap();
        reqwest::Client::builder().proxy(proxy).build().unwrap()
    };
    service.will_answer(200, "{}");
    assert_eq!(client(&url).get(&service.url).send().await.unwrap().status(), 200);
    let (_, bare) = variables(door.port()).remove(0);
    let guess = bare.replace("http://", "http://nightshift:guess@");
    for stranger in [bare, guess] {
        let answer = client(&stranger).get(&service.url).send().await.unwrap();
        assert_eq!(answer.status(), 407);
    }
    assert_eq!(service.asked().len(), 1);
    assert_eq!(egress.refusals()[0].why, Why::NoLogin);
    assert!(!format!("{door:?}").contains(url.split(['@', ':']).nth(2).unwrap()));
    drop(door);
    let gone = async {
        while client(&url).get(&service.url).send().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, gone).await.expect("nobody listens any more");
}
