//! Shutting down.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::{Reply, Request};
use crate::served::{Served, event};

#[tokio::test]
async fn a_request_in_flight_is_finished_and_no_other_begun() {
    let mut served = Served::start().await;
    let request = Request::post(served.address, event(1).to_string());
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    let request = request.with("Expect", "100-continue");
    let (early, late) = request.body.split_at(10);
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(&request.head()).await.unwrap();
    // The server has begun with it once it asks for the body.
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(early).await.unwrap();

    served.tell_to_stop();
    // An idle connection is closed at once.
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
    stream.write_all(late).await.unwrap();
    let reply = Reply::read(&mut stream).await;
    assert_eq!(reply.status, 202);
    served.stopped().await;
    assert_eq!(served.events().await.len(), 1);
    assert!(TcpStream::connect(served.address).await.is_err());
}
