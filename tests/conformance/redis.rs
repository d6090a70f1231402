//! What can happen on Redis alone: keys of another type, limits, streams deleted and reads abandoned under way.

use std::{error::Error as _, sync::Arc, time::Duration};

use ::redis::{AsyncCommands as _, aio::MultiplexedConnection};
use factline::redis;
use factline_pipeline::{
    event::Event,
    outage::Error,
    stream::{EventStream, Partition},
};

use super::{
    adapters::PARTITIONS,
    samples::{TOPIC, event, events_in, key_in, partition, sequences},
    stream::{SOON, read_all, reader},
};
use crate::servers::Redis;

/// Longer than anything takes here.
const LONG: Duration = Duration::from_mins(1);

struct Fixture {
    stream: redis::Stream,
    prefix: String,
    server: MultiplexedConnection,
}

impl Fixture {
    async fn new() -> Self {
        Self::on(Redis::shared()).await
    }

    async fn on(server: &Redis) -> Self {
        let prefix = server.prefix();
        let stream = open(&server.url(), &prefix);
        let client = ::redis::Client::open(server.url()).unwrap();
        Self { stream, prefix, server: client.get_multiplexed_async_connection().await.unwrap() }
    }

    fn key(&self, partition: &Partition) -> String {
        format!("{}:{partition}", self.prefix)
    }

    async fn length(&mut self, number: u16) -> u64 {
        let key = self.key(&partition(number));
        self.server.xlen(key).await.unwrap()
    }

    async fn blocked_clients(&mut self) -> u64 {
        let info: ::redis::InfoDict =
            ::redis::cmd("INFO").arg("clients").query_async(&mut self.server).await.unwrap();
        info.get("blocked_clients").unwrap()
    }

    async fn until_blocked(&mut self, clients: u64) {
        let waiting = async {
            while self.blocked_clients().await != clients {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG / 10, waiting).await.expect("a read is still blocked, or not yet");
    }
}

fn open(url: &str, prefix: &str) -> redis::Stream {
    let settings =
        redis::Settings { prefix: prefix.to_owned(), partitions: PARTITIONS, max_length: u64::MAX };
    redis::Stream::new(url, settings).unwrap()
}

fn reason(error: &Error) -> String {
    error.source().unwrap().to_string()
}

#[tokio::test]
async fn a_partition_whose_key_is_no_stream_keeps_the_whole_batch_out() {
    let mut fixture = Fixture::new().await;
    let key = fixture.key(&partition(1));
    let events = [events_in(0, 2), events_in(1, 1), events_in(2, 1)].concat();
    let () = fixture.server.set(&key, "somebody's").await.unwrap();
    for _ in 0..2 {
        let error = fixture.stream.append(&events).await.unwrap_err();
        assert!(error.is_outage());
        assert_eq!(reason(&error), format!("key {key:?} is a string, not a stream; rename or delete it"));
    }
    assert_eq!((fixture.length(0).await, fixture.length(2).await), (0, 0));
    let () = fixture.server.del(&key).await.unwrap();
    fixture.stream.append(&events).await.unwrap();
    assert_eq!((fixture.length(0).await, fixture.length(1).await), (2, 1));
}

#[tokio::test]
async fn a_key_that_changes_its_type_is_found_before_the_next_attempt() {
    let mut fixture = Fixture::new().await;
    let key = fixture.key(&partition(1));
    let events = [events_in(0, 1), events_in(1, 1)].concat();
    fixture.stream.append(&events).await.unwrap();
    let () = fixture.server.del(&key).await.unwrap();
    let () = fixture.server.set(&key, "somebody's").await.unwrap();
    for _ in 0..3 {
        fixture.stream.append(&events).await.unwrap_err();
    }
    assert_eq!(fixture.length(0).await, 2, "Redis rolls nothing back, but it is not asked again");
}

#[tokio::test]
async fn a_topics_key_that_is_no_set_keeps_everything_out() {
    let mut fixture = Fixture::new().await;
    let () = fixture.server.set(format!("{}:topics", fixture.prefix), "somebody's").await.unwrap();
    let error = fixture.stream.append(&events_in(0, 1)).await.unwrap_err();
    assert!(reason(&error).ends_with("is a string, not a set; rename or delete it"), "{error:?}");
    assert_eq!(fixture.length(0).await, 0);
}

#[tokio::test]
async fn a_value_that_the_server_does_not_take_is_refused_and_its_neighbours_are_not() {
    const LIMIT: usize = 1 << 20;
    let server = Redis::start_own_with(&["--proto-max-bulk-len", "1mb"]);
    let mut fixture = Fixture::on(&server).await;
    let with = |size| Event { data: "x".repeat(size), ..event(&key_in(1), 0) };
    for batch in [vec![with(LIMIT + 1)], vec![with(1), with(LIMIT + 1), with(1)]] {
        let error = fixture.stream.append(&batch).await.unwrap_err();
        assert!(matches!(error, Error::Data { .. }), "{error:?}");
        let expected =
            "the event's data has 1048577 bytes, and the server takes 1048576 (proto-max-bulk-len)";
        assert_eq!(reason(&error), expected);
    }
    assert_eq!(fixture.length(1).await, 0);
    fixture.stream.append(&[with(LIMIT), with(1), with(LIMIT)]).await.unwrap();
    assert_eq!(fixture.length(1).await, 3);
}

#[tokio::test]
async fn a_server_whose_configuration_is_nobodys_business_takes_what_it_takes_by_default() {
    let server = Redis::start_own();
    let mut fixture = Fixture::on(&server).await;
    let user = ["SETUSER", "app", "on", ">secret", "~*", "+@all", "-config"];
    let () = ::redis::cmd("ACL").arg(&user).query_async(&mut fixture.server).await.unwrap();
    let stream = open(&server.url().replace("redis://", "redis://app:secret@"), &fixture.prefix);
    stream.append(&[Event { data: "x".repeat(2 << 20), ..event(&key_in(1), 0) }]).await.unwrap();
    assert_eq!(fixture.length(1).await, 1);
}

#[tokio::test]
async fn a_stream_that_is_deleted_while_it_is_recovered_is_read_from_its_new_beginning() {
    let mut fixture = Fixture::new().await;
    let (stream, place) = (&fixture.stream, partition(1));
    stream.ensure_group("g", &stream.partitions(TOPIC)).await.unwrap();
    stream.append(&events_in(1, 4)).await.unwrap();
    assert_eq!(read_all(stream, "g").await.len(), 4);
    let page = stream.take_over_pending(&reader("g", "b"), &place, None, 2).await.unwrap();
    assert_eq!(sequences(&page), [0, 1]);
    let () = fixture.server.del(fixture.key(&place)).await.unwrap();
    let after = Some(page[1].position);
    for _ in 0..2 {
        assert_eq!(stream.take_over_pending(&reader("g", "b"), &place, after, 2).await.unwrap(), []);
    }
    stream.append(&events_in(1, 1)).await.unwrap();
    let read = stream.read_new(&reader("g", "b"), &[place], 100, SOON).await.unwrap();
    assert_eq!(sequences(&read), [0]);
}

#[tokio::test]
async fn a_consumer_that_has_just_read_is_not_deleted() {
    let mut fixture = Fixture::new().await;
    let (stream, places) = (&fixture.stream, [partition(1)]);
    stream.ensure_group("g", &places).await.unwrap();
    stream.append(&events_in(1, 1)).await.unwrap();
    let entries = stream.read_new(&reader("g", "former"), &places, 100, SOON).await.unwrap();
    stream.acknowledge("g", &places[0], &[entries[0].position]).await.unwrap();
    stream.ensure_group("g", &places).await.unwrap();
    let consumers: ::redis::streams::StreamInfoConsumersReply =
        fixture.server.xinfo_consumers(fixture.key(&places[0]), "g").await.unwrap();
    let names: Vec<&str> = consumers.consumers.iter().map(|consumer| consumer.name.as_str()).collect();
    assert_eq!(names, ["former"], "what it reads in between would go with it");
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_takes_nothing() {
    let server = Redis::start_own();
    let mut fixture = Fixture::on(&server).await;
    let places = [partition(1)];
    fixture.stream.ensure_group("g", &places).await.unwrap();
    let former = Arc::new(open(&server.url(), &fixture.prefix)); // which outlives its read
    let read = {
        let (former, places) = (former.clone(), places.clone());
        async move { former.read_new(&reader("g", "a"), &places, 100, LONG).await }
    };
    let read = tokio::spawn(read);
    fixture.until_blocked(1).await;
    read.abort();
    fixture.until_blocked(0).await;
    fixture.stream.append(&events_in(1, 2)).await.unwrap();
    let read = fixture.stream.read_new(&reader("g", "b"), &places, 100, SOON).await.unwrap();
    assert_eq!(sequences(&read), [0, 1]);
}

fn lost(error: &Error) -> String {
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
    reason(error)
}

async fn flushall(fixture: &mut Fixture) {
    let () = ::redis::cmd("FLUSHALL").query_async(&mut fixture.server).await.unwrap();
}

#[tokio::test]
async fn a_loss_is_said_once_and_before_anything_is_appended() {
    let server = Redis::start_own();
    let mut fixture = Fixture::on(&server).await;
    fixture.stream.recorded_partitions().await.unwrap();
    fixture.stream.append(&events_in(1, 2)).await.unwrap();
    for lost_after in 1..4 {
        flushall(&mut fixture).await;
        let error = fixture.stream.append(&events_in(1, 1)).await.unwrap_err();
        assert!(lost(&error).contains("and with it all streams"), "{error:?}");
        assert_eq!(fixture.length(1).await, 0);
        for length in 1..=lost_after {
            fixture.stream.append(&events_in(1, 1)).await.unwrap();
            assert_eq!(fixture.length(1).await, length);
        }
    }
    let meta = format!("{}:meta", fixture.prefix);
    let partitions: u16 = fixture.server.hget(meta, "partitions").await.unwrap();
    assert_eq!(partitions, PARTITIONS);
}

/// Between the start and the first append, or somebody else has made the streams again.
#[tokio::test]
async fn a_loss_before_the_first_append_is_one_as_well() {
    let server = Redis::start_own();
    let mut fixture = Fixture::on(&server).await;
    fixture.stream.recorded_partitions().await.unwrap();
    flushall(&mut fixture).await;
    let other = open(&server.url(), &fixture.prefix);
    other.recorded_partitions().await.unwrap();
    other.append(&events_in(1, 1)).await.unwrap();
    lost(&fixture.stream.append(&events_in(1, 1)).await.unwrap_err());
    fixture.stream.append(&events_in(1, 1)).await.unwrap();
    assert_eq!(fixture.length(1).await, 2);
    other.append(&events_in(1, 1)).await.unwrap();
}

#[tokio::test]
async fn a_lost_tail_is_found_by_a_new_connection() {
    let server = Redis::start_own_with(&["--appendonly", "no"]);
    let mut fixture = Fixture::on(&server).await;
    fixture.stream.append(&[events_in(1, 2), events_in(2, 2)].concat()).await.unwrap();
    let () = ::redis::cmd("SAVE").query_async(&mut fixture.server).await.unwrap();
    for (number, words) in [(1, "ends at"), (3, "is gone")] {
        fixture.stream.append(&events_in(number, 1)).await.unwrap();
        server.kill();
        server.start();
        let error = loop {
            match fixture.stream.append(&events_in(1, 1)).await.unwrap_err() {
                error if error.is_outage() => {} // the connection that went with the server
                error => break error,
            }
        };
        assert!(lost(&error).contains(words), "{error:?}");
        fixture = Fixture { server: connect(&server).await, ..fixture };
        assert_eq!((fixture.length(1).await, fixture.length(2).await, fixture.length(3).await), (2, 2, 0));
    }
    fixture.stream.append(&events_in(1, 1)).await.unwrap();
}

async fn connect(server: &Redis) -> MultiplexedConnection {
    let client = ::redis::Client::open(server.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// It is a hash like any other, and who writes there has lost nothing.
#[tokio::test]
async fn a_change_beside_the_identity_aborts_nothing_for_good() {
    let mut fixture = Fixture::new().await;
    fixture.stream.append(&events_in(1, 1)).await.unwrap();
    let meta = format!("{}:meta", fixture.prefix);
    for round in 0..3 {
        let () = fixture.server.hset(&meta, "note", round).await.unwrap();
        fixture.stream.append(&events_in(1, 1)).await.unwrap();
    }
    assert_eq!(fixture.length(1).await, 4);
}

#[tokio::test]
async fn streams_with_another_number_of_partitions_are_not_appended_to() {
    let server = Redis::start_own();
    let mut fixture = Fixture::on(&server).await;
    fixture.stream.append(&events_in(1, 1)).await.unwrap();
    flushall(&mut fixture).await;
    let () = fixture.server.hset(format!("{}:meta", fixture.prefix), "partitions", 99).await.unwrap();
    let error = fixture.stream.append(&events_in(1, 1)).await.unwrap_err();
    assert!(error.is_outage() && reason(&error).contains("stream.partitions is 4"), "{error:?}");
    assert_eq!(fixture.length(1).await, 0);
}

#[tokio::test]
async fn a_group_survives_a_flushall_at_any_moment() {
    let server = Redis::start_own();
    let mut fixture = Fixture::on(&server).await;
    let places = [partition(1), partition(2)];
    fixture.stream.ensure_group("g", &places).await.unwrap();
    fixture.stream.append(&events_in(1, 3)).await.unwrap();
    let read = fixture.stream.read_new(&reader("g", "a"), &places, 2, SOON).await.unwrap();
    flushall(&mut fixture).await;
    let stream = &fixture.stream;
    stream.acknowledge("g", &places[0], &[read[0].position]).await.unwrap();
    assert_eq!(stream.trim(&places[0]).await.unwrap(), 0);
    assert_eq!(stream.lag(&[TOPIC.into()]).await.unwrap(), []);
    assert_eq!(stream.stranded(&reader("g", "a"), &places).await.unwrap(), []);
    assert_eq!(stream.topics().await.unwrap(), Vec::<String>::new());
    assert_eq!(stream.at_cap(&places[0]).await.unwrap(), None);
    assert_eq!(stream.carried_before(&places[0], None, 10).await.unwrap(), []);
    assert_eq!(stream.read_new(&reader("g", "a"), &places, 2, SOON).await.unwrap(), []);
    assert_eq!(
        (stream.topics().await.unwrap().len(), stream.lag(&[TOPIC.into()]).await.unwrap().len()),
        (1, 2)
    );
    let partitions: u16 =
        fixture.server.hget(format!("{}:meta", fixture.prefix), "partitions").await.unwrap();
    assert_eq!(partitions, PARTITIONS, "whoever starts now must find it");
}

#[tokio::test]
async fn a_waiting_read_survives_a_flushall() {
    let server = Redis::start_own();
    let mut fixture = Fixture::on(&server).await;
    let places = [partition(1)];
    fixture.stream.ensure_group("g", &places).await.unwrap();
    let stream = Arc::new(open(&server.url(), &fixture.prefix));
    let read = {
        let (stream, places) = (stream.clone(), places.clone());
        tokio::spawn(async move { stream.read_new(&reader("g", "a"), &places, 100, LONG).await })
    };
    fixture.until_blocked(1).await;
    flushall(&mut fixture).await;
    assert_eq!(read.await.unwrap().unwrap(), []);
    lost_or_appended(&fixture).await;
    let read = stream.read_new(&reader("g", "a"), &places, 100, SOON).await.unwrap();
    assert_eq!(sequences(&read), [0]);
}

async fn lost_or_appended(fixture: &Fixture) {
    fixture.stream.append(&events_in(1, 1)).await.unwrap(); // it has never appended, and so has lost nothing
}

/// Whatever a group that is made meanwhile has found, stays for it.
#[tokio::test]
async fn what_no_group_reads_is_discarded_in_one_step() {
    let mut fixture = Fixture::new().await;
    let (place, key) = (partition(1), fixture.key(&partition(1)));
    assert_eq!(fixture.stream.discard_unread(&place).await.unwrap(), 0, "there is no stream");
    for round in 0..300 {
        fixture.stream.append(&events_in(1, 3)).await.unwrap();
        let group = format!("group-{round}");
        let mut make = ::redis::pipe();
        make.atomic();
        make.cmd("XGROUP").arg("CREATE").arg(&key).arg(&group).arg("0").ignore();
        make.cmd("XLEN").arg(&key);
        let (discarded, found) =
            tokio::join!(fixture.stream.discard_unread(&place), make.query_async(&mut fixture.server));
        let (discarded, (found,)): (u64, (u64,)) = (discarded.unwrap(), found.unwrap());
        assert_eq!((discarded, fixture.length(1).await), (3 - found, found));
        let () = ::redis::cmd("XGROUP")
            .arg("DESTROY")
            .arg(&key)
            .arg(&group)
            .query_async(&mut fixture.server)
            .await
            .unwrap();
        assert_eq!(fixture.stream.discard_unread(&place).await.unwrap(), found);
        assert_eq!(fixture.length(1).await, 0);
    }
}
