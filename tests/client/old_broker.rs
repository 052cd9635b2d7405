//! A broker of an earlier version: it does not say that it can do what came later.

use std::net::SocketAddr;

use majordomo::client::To;
use majordomo::lease::Fence;
use majordomo::wire::mjp::{AdminHeader, Verb};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// The broker at `endpoint`, as one that does not know of `feature`: its name is another one in
/// what the broker says.
async fn without(feature: &'static str, endpoint: &str) -> String {
    let to: SocketAddr = endpoint.strip_prefix("tcp://").unwrap().parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.unwrap();
            let (mut near_in, mut near_out) = near.into_split();
            let (mut far_in, mut far_out) = far.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut near_in, &mut far_out).await });
            tokio::spawn(async move {
                let mut octets = vec![0; 64 << 10];
                while let Ok(count @ 1..) = far_in.read(&mut octets).await {
                    let said = &mut octets[..count];
                    let place = said.windows(feature.len()).position(|it| it == feature.as_bytes());
                    if let Some(place) = place {
                        said[place] = b'x';
                    }
                    near_out.write_all(said).await?;
                }
                Ok::<_, std::io::Error>(())
            });
        }
    });
    endpoint
}

#[tokio::test]
async fn what_is_fenced_is_not_said_to_a_broker_that_would_not_look_at_it() {
    let (_broker, endpoint) = broker();
    let _worker = worker(&endpoint, "echo", echo).await;
    let plain = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    let mut heard = plain.subscribe("news").await.unwrap();
    let old = without("fences", &endpoint).await;
    let client = client(&old, Protocol::Mjp).connect().await.unwrap();
    let held = client.lease("a").campaign().await.unwrap();
    let clients = AdminHeader::new(Verb::Clients);
    let none = Err(CallError::NoFences);
    assert_eq!(client.publish("news", "late").fence(&held).await, none);
    assert_eq!(client.scatter("echo", To::All, "x").fence(&held).await.err(), none.clone().err());
    assert_eq!(client.admin(&clients).fence(&held).await.err(), none.err());
    // Requests have had fences for as long as there have been leases, and what has none goes on.
    client.call("echo", "x").fence(&held).await.unwrap();
    let stale = client.call("echo", "x").fence(Fence::new("a", 1)).await;
    assert_eq!(stale, Err(CallError::Stale { current: Some(held.epoch()) }));
    assert_eq!(client.publish("news", "in time").await, Ok(1));
    let mut scatter = client.scatter("echo", To::All, "x").await.unwrap();
    assert_eq!(scatter.rest().await.unwrap().len(), 1);
    client.admin(&clients).await.unwrap();
    assert_eq!(heard.next().await.unwrap().unwrap().body.first(), b"in time");
}

#[tokio::test]
async fn a_fence_that_there_cannot_be_is_refused_at_once() {
    let (_broker, endpoint) = broker();
    let client = client(&endpoint, Protocol::Mjp).connect().await.unwrap();
    let (none, long) = (Fence::new("", 1), Fence::new("x".repeat(256), 1));
    let clients = AdminHeader::new(Verb::Clients);
    for (fence, len) in [(none, 0), (long, 256)] {
        let error = Some(CallError::LeaseName { len, max: 255 });
        assert_eq!(client.publish("news", "x").fence(fence.clone()).await.err(), error);
        assert_eq!(client.scatter("echo", To::All, "x").fence(fence.clone()).await.err(), error);
        assert_eq!(client.admin(&clients).fence(fence).await.err(), error);
    }
    // With its fence the header would be longer than any may be.
    let name = "x".repeat(16 << 10);
    let long = AdminHeader { name: Some(&name[..16_300]), ..AdminHeader::new(Verb::Kick) };
    let answer = client.admin(&long).fence(Fence::new("y".repeat(255), 1)).await;
    assert!(matches!(answer, Err(CallError::TooBig { what: "header", .. })), "{answer:?}");
}
