//! What the `EventStream` port promises about entries: appended in order, read by every group, trimmed when nobody
//! needs them. What is [`pending`](super::pending) has its own suite.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use chrono::Utc;
use factline_pipeline::{
    event::Event,
    stream::{AtCap, Carried, Delivered, EventStream, GroupLag, Partition, PendingFor, Reader, partition_of},
};
use uuid::Uuid;

use super::{
    adapters::{PARTITIONS, StreamFixture, stream_on_redis, stream_on_sqlite},
    samples::{TOPIC, event, events_in, key_in, partition, sequences},
};

for_every_stream! {
    [
        events_arrive_as_they_were_and_in_the_order_of_their_keys,
        every_group_sees_everything_from_the_beginning,
        a_group_that_nobody_made_known_reads_all_the_same,
        a_read_gives_so_many_entries_of_each_partition,
        every_character_and_a_large_payload_survive,
        an_entry_that_is_no_event_says_why_and_keeps_its_bytes,
        reading_waits_for_an_entry_and_gives_up_in_time,
        a_waiting_reader_wakes_for_an_append_of_its_own_process_and_of_another,
        several_may_append_at_once,
        a_partition_at_its_cap_says_so_until_it_is_trimmed,
        the_lag_counts_what_waits_and_what_is_pending,
        a_group_that_is_done_with_everything_has_no_oldest_entry,
        streams_keep_their_identity_and_differ_from_others,
        topics_and_partitions_are_known,
        what_a_partition_carries_is_paged_newest_first,
        a_topic_that_others_alone_append_to_is_known_to_its_groups,
        the_first_number_of_partitions_stays,
    ]
}

pub(super) const SOON: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_mins(1);

pub(super) fn reader(group: &str, consumer: &str) -> Reader {
    Reader { group: group.into(), consumer: consumer.into() }
}

/// Everything new in all partitions.
pub(super) async fn read_all(stream: &dyn EventStream, group: &str) -> Vec<Delivered> {
    let partitions = stream.partitions(TOPIC);
    let mut all = Vec::new();
    loop {
        let new = stream.read_new(&reader(group, "a"), &partitions, 100, SOON).await.unwrap();
        if new.is_empty() {
            return all;
        }
        all.extend(new);
    }
}

async fn append(stream: &dyn EventStream, events: &[Event]) -> Option<AtCap> {
    stream.append(events).await.unwrap()
}

fn ids(entries: &[Delivered]) -> HashSet<Uuid> {
    entries.iter().map(|entry| entry.event.as_ref().unwrap().id).collect()
}

async fn events_arrive_as_they_were_and_in_the_order_of_their_keys(fixture: &StreamFixture) {
    let stream = &*fixture.stream;
    stream.ensure_group("g", &stream.partitions(TOPIC)).await.unwrap();
    let mut expected: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for batch in 0..3 {
        let events: Vec<Event> = (0..60).map(|n| event(&format!("key-{}", n % 7), batch * 60 + n)).collect();
        assert_eq!(append(stream, &events).await, None);
        for event in events {
            expected.entry(event.key.clone()).or_default().push(event);
        }
    }
    append(stream, &[]).await;
    let mut arrived: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    let mut last = BTreeMap::new();
    for entry in read_all(stream, "g").await {
        let event = entry.event.unwrap();
        assert_eq!((&*entry.partition.topic, entry.deliveries), (TOPIC, 1));
        assert_eq!(entry.partition.number, partition_of(&event.key, PARTITIONS));
        assert!(last.insert(entry.partition, entry.position) < Some(entry.position), "positions rise");
        arrived.entry(event.key.clone()).or_default().push(event);
    }
    assert_eq!(arrived, expected);
}

async fn every_group_sees_everything_from_the_beginning(fixture: &StreamFixture) {
    let stream = &*fixture.stream;
    let partitions = stream.partitions(TOPIC);
    append(stream, &events_in(0, 3)).await;
    for group in ["g", "h"] {
        stream.ensure_group(group, &partitions).await.unwrap();
        assert_eq!(sequences(&read_all(stream, group).await), [0, 1, 2]);
        stream.ensure_group(group, &partitions).await.unwrap();
        assert_eq!(read_all(stream, group).await, [], "knowing a group twice rewinds nothing");
    }
}

/// Redis forgets its groups when it loses its data; no reader may end for that, nor read nothing for ever.
async fn a_group_that_nobody_made_known_reads_all_the_same(fixture: &StreamFixture) {
    let stream = &*fixture.stream;
    append(stream, &events_in(2, 2)).await;
    let (reader, partitions) = (reader("g", "a"), stream.partitions(TOPIC));
    let deadline = Instant::now() + LONG;
    let mut read = Vec::new();
    while read.is_empty() && Instant::now() < deadline {
        read = stream.read_new(&reader, &partitions, 100, SOON).await.unwrap();
    }
    assert_eq!(sequences(&read), [0, 1]);
}

async fn a_read_gives_so_many_entries_of_each_partition(fixture: &StreamFixture) {
    let stream = &*fixture.stream;
    let partitions = stream.partitions(TOPIC);
    stream.ensure_group("g", &partitions).await.unwrap();
    append(stream, &[events_in(0, 5), events_in(1, 2), events_in(3, 3)].concat()).await;
    let mut counts = Vec::new();
    for _ in 0..3 {
        let read = stream.read_new(&reader("g", "a"), &partitions[..3], 3, SOON).await.unwrap();
        let count = |number| read.iter().filter(|entry| entry.partition.number == number).count();
        counts.push([count(0), count(1), count(2), count(3)]);
    }
    assert_eq!(counts, [[3, 2, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]]);
    let other = stream.read_new(&reader("g", "b"), &partitions, 100, SOON).await.unwrap();
    assert_eq!(sequences(&other), [0, 1, 2], "a partition that was not asked for waits for its reader");
}

async fn every_character_and_a_large_payload_survive(fixture: &StreamFixture) {
    let stream = &*fixture.stream;
    let odd = "NUL \u{0} and \u{1}, \"quotes\", \\u0000, \r\n\t, \u{1f980}, \u{ffff}, e\u{301}, \u{2028}";
    let odd = Event { data: odd.into(), key: odd.into(), event_type: odd.into(), ..event("", 1) };
    let large = Event { data: "\u{00e9}".repeat(1 << 19), ..event("large", 2) };
    let deep = Event { data: "[".repeat(10_000), ..event("deep", 3) };
    let empty = Event { data: String::new(), source: String::new(), ..event("", 4) };
    let events = [odd, large, deep, empty];
    append(stream, &events).await;
    stream.ensure_group("g", &stream.partitions(TOPIC)).await.unwrap();
    let mut read: Vec<Event> =
        read_all(stream, "g").await.into_iter().map(|entry| entry.event.unwrap()).collect();
    read.sort_by_key(|event| event.sequence);
    assert!(read == events, "something was changed on the way");
}

async fn an_entry_that_is_no_event_says_why_and_keeps_its_bytes(fixture: &StreamFixture) {
    let stream = &*fixture.stream;
    stream.ensure_group("g", &stream.partitions(TOPIC)).await.unwrap();
    let id = Uuid::now_v7().to_string();
    let place = partition(1);
    append(stream, &events_in(1, 1)).await;
    let bytes: &[u8] = b"not JSON \0 \xff\xfe";
    fixture.append_by_hand(&place, &[("id", b"chat-1769035355992"), ("type", b"t"), ("data", bytes)]).await;
    fixture.append_by_hand(&place, &[("hello", b"world")]).await;
    fixture.append_by_hand(&place, &[("id", id.as_bytes()), ("type", b"t"), ("data", bytes)]).await;
    let float: [(&str, &[u8]); 4] =
        [("id", id.as_bytes()), ("type", b"t"), ("time", b"1769067099.568"), ("data", b"{}")];
    fixture.append_by_hand(&place, &float).await;
    append(stream, &events_in(1, 1)).await;
    let read = read_all(stream, "g").await;
    assert_eq!(read.len(), 6);
    assert!(read[0].event.is_ok() && read[5].event.is_ok(), "neighbours are untouched");
    let malformed: Vec<_> = read[1..4].iter().map(|entry| entry.event.as_ref().unwrap_err()).collect();
    assert_eq!(malformed[0].reason.to_string(), "id is not a UUID: \"chat-1769035355992\"");
    assert_eq!((malformed[0].event_id.as_str(), malformed[0].data.as_slice()), ("chat-1769035355992", bytes));
    assert_eq!(malformed[1].reason.to_string(), "attribute \"id\" is missing");
    assert_eq!((malformed[2].data.as_slice(), malformed[2].event_type.as_deref()), (bytes, Some("t")));
    assert_eq!(read[4].event.as_ref().unwrap().occurred_at.timestamp_millis(), 1_769_067_099_568);
    let positions: Vec<_> = read.iter().map(|entry| entry.position).collect();
    stream.acknowledge("g", &place, &positions).await.unwrap();
    let pending = stream.take_over_pending(&reader("g", "b"), &place, None, 100).await.unwrap();
    assert_eq!(pending, []);
}

async fn reading_waits_for_an_entry_and_gives_up_in_time(fixture: &StreamFixture) {
    let stream = &*fixture.stream;
    let partitions = stream.partitions(TOPIC);
    stream.ensure_group("g", &partitions).await.unwrap();
    let began = Instant::now();
    let wait = Duration::from_millis(100);
    assert_eq!(stream.read_new(&reader("g", "a"), &partitions, 100, wait).await.unwrap(), []);
    assert!(began.elapsed() >= wait);
}

async fn a_waiting_reader_wakes_for_an_append_of_its_own_process_and_of_another(fixture: &StreamFixture) {
    let partitions = fixture.stream.partitions(TOPIC);
    fixture.stream.ensure_group("g", &partitions).await.unwrap();
    let elsewhere = fixture.open_elsewhere(u64::MAX).await;
    for (count, writer) in [fixture.stream.clone(), elsewhere].into_iter().enumerate() {
        let (stream, partitions) = (fixture.stream.clone(), partitions.clone());
        let waiting =
            tokio::spawn(
                async move { stream.read_new(&reader("g", "a"), &partitions, 100, LONG).await.unwrap() },
            );
        tokio::task::yield_now().await; // into its wait, most likely; it must not matter
        let began = Instant::now();
        let sequence = i64::try_from(count).unwrap();
        append(&*writer, &[event("c", sequence)]).await;
        assert_eq!(sequences(&waiting.await.unwrap()), [sequence]);
        assert!(began.elapsed() < LONG / 2, "it was woken, and did not just give up");
    }
}

async fn several_may_append_at_once(fixture: &StreamFixture) {
    let partitions = fixture.stream.partitions(TOPIC);
    fixture.stream.ensure_group("g", &partitions).await.unwrap();
    let mut writers = Vec::new();
    for writer in 0..4 {
        let stream = fixture.open_elsewhere(u64::MAX).await;
        writers.push(tokio::spawn(async move {
            for batch in 0..10 {
                let key = |n| format!("{writer}-{}", n % 5);
                let events: Vec<Event> = (0..20).map(|n| event(&key(n), batch * 20 + n)).collect();
                append(&*stream, &events).await;
            }
        }));
    }
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    let (mut read, mut seen) = (0, HashSet::new());
    while read < 800 {
        let new = fixture.stream.read_new(&reader("g", "a"), &partitions, 50, LONG).await.unwrap();
        assert!(!new.is_empty(), "only {read} of 800 arrived");
        read += new.len();
        seen.extend(ids(&new));
        for event in new.into_iter().map(|entry| entry.event.unwrap()) {
            let sequence = event.sequence.unwrap();
            assert!(last.insert(event.key, sequence) < Some(sequence), "a key's order holds");
        }
    }
    assert_eq!(seen.len(), 800);
    for writer in writers {
        writer.await.unwrap();
    }
}

async fn a_partition_at_its_cap_says_so_until_it_is_trimmed(fixture: &StreamFixture) {
    let stream = fixture.open_elsewhere(3).await;
    let (full, other) = (partition(1), partition(2));
    stream.ensure_group("g", &[full.clone(), other.clone()]).await.unwrap();
    assert_eq!(append(&*stream, &[events_in(1, 2), events_in(2, 1)].concat()).await, None);
    assert_eq!(stream.at_cap(&full).await.unwrap(), None);
    let at_cap = |partition: &Partition, length| Some(AtCap { partition: partition.clone(), length });
    assert_eq!(append(&*stream, &[event(&key_in(1), 2)]).await, at_cap(&full, 3));
    assert_eq!(append(&*stream, &[event(&key_in(2), 2)]).await, None, "it was not written to");
    let more = [events_in(2, 1), events_in(1, 3)].concat();
    assert_eq!(append(&*stream, &more).await, at_cap(&full, 6), "the fullest one is what counts");
    assert_eq!(stream.at_cap(&full).await.unwrap(), at_cap(&full, 6));
    assert_eq!(stream.at_cap(&other).await.unwrap(), at_cap(&other, 3));
    let read = stream.read_new(&reader("g", "a"), std::slice::from_ref(&full), 4, SOON).await.unwrap();
    let positions: Vec<_> = read.iter().map(|entry| entry.position).collect();
    stream.acknowledge("g", &full, &positions).await.unwrap();
    assert_eq!(stream.trim(&full).await.unwrap(), 4);
    assert_eq!(stream.at_cap(&full).await.unwrap(), None);
}

async fn the_lag_counts_what_waits_and_what_is_pending(fixture: &StreamFixture) {
    let stream = &*fixture.stream;
    let (topics, partitions) = ([TOPIC.to_owned()], stream.partitions(TOPIC));
    assert_eq!(stream.lag(&topics).await.unwrap(), []);
    append(stream, &events_in(1, 5)).await;
    assert_eq!(stream.lag(&topics).await.unwrap(), [], "nobody reads it");
    stream.ensure_group("g", &partitions).await.unwrap();
    stream.ensure_group("h", &partitions[1..2]).await.unwrap();
    let read = stream.read_new(&reader("g", "a"), &partitions, 3, SOON).await.unwrap();
    stream.acknowledge("g", &partition(1), &[read[0].position]).await.unwrap();
    let mut lag = stream.lag(&topics).await.unwrap();
    lag.retain(|lag| lag.partition == partition(1));
    lag.sort_by(|a, b| a.group.cmp(&b.group));
    let oldest: Vec<_> = lag.iter().map(|lag| lag.oldest.unwrap()).collect();
    assert!(oldest.iter().all(|time| (Utc::now() - *time).num_seconds().abs() < 60), "{oldest:?}");
    assert!(oldest[1] <= oldest[0], "h has still to read the first one");
    let expected = |group: &str, undelivered, pending_for: &[PendingFor], oldest| GroupLag {
        group: group.into(),
        partition: partition(1),
        length: 5,
        undelivered: Some(undelivered),
        pending: pending_for.iter().map(|one| one.entries).sum(),
        pending_for: pending_for.to_vec(),
        oldest: Some(oldest),
    };
    let for_a = PendingFor { consumer: "a".into(), entries: 2 };
    assert_eq!(lag, [expected("g", 2, &[for_a], oldest[0]), expected("h", 5, &[], oldest[1])]);
    assert_eq!(stream.lag(&["elsewhere".to_owned()]).await.unwrap(), []);
}

async fn a_group_that_is_done_with_everything_has_no_oldest_entry(fixture: &StreamFixture) {
    let stream = &*fixture.stream;
    stream.ensure_group("g", &[partition(1)]).await.unwrap();
    let oldest = async || {
        let lag = stream.lag(&[TOPIC.to_owned()]).await.unwrap();
        lag.iter().find_map(|lag| lag.oldest)
    };
    assert_eq!(oldest().await, None, "there was never anything");
    append(stream, &events_in(1, 1)).await;
    let appended = oldest().await.unwrap();
    let read = stream.read_new(&reader("g", "a"), &[partition(1)], 1, SOON).await.unwrap();
    assert_eq!(oldest().await, Some(appended), "what is pending is not done");
    stream.acknowledge("g", &partition(1), &[read[0].position]).await.unwrap();
    assert_eq!(oldest().await, None);
}

async fn streams_keep_their_identity_and_differ_from_others(fixture: &StreamFixture) {
    let identity = fixture.stream.identity().await.unwrap();
    assert_eq!(identity.partitions, PARTITIONS);
    assert_eq!(fixture.open_elsewhere(9).await.identity().await.unwrap(), identity);
    append(&*fixture.stream, &events_in(1, 1)).await;
    assert_eq!(fixture.stream.identity().await.unwrap(), identity);
    for other in [stream_on_sqlite().await, stream_on_redis().await] {
        assert_ne!(other.stream.identity().await.unwrap().id, identity.id);
    }
}

async fn topics_and_partitions_are_known(fixture: &StreamFixture) {
    let stream = &*fixture.stream;
    assert!(stream.topics().await.unwrap().is_empty());
    append(stream, &[event("c", 0), Event { topic: "orders".into(), ..event("c", 1) }]).await;
    let mut topics = stream.topics().await.unwrap();
    topics.sort();
    assert_eq!(topics, [TOPIC, "orders"]);
    let partitions = stream.partitions("orders");
    assert!(partitions.iter().all(|partition| &*partition.topic == "orders"));
    assert!(partitions.iter().map(|partition| partition.number).eq(0..PARTITIONS));
}

/// What no topic is known for is not trimmed, nor shown.
async fn a_topic_that_others_alone_append_to_is_known_to_its_groups(fixture: &StreamFixture) {
    let stream = &*fixture.stream;
    fixture.append_by_hand(&partition(1), &[("hello", b"world")]).await;
    stream.ensure_group("g", &[partition(1)]).await.unwrap();
    assert_eq!(stream.topics().await.unwrap(), [TOPIC]);
}

async fn the_first_number_of_partitions_stays(fixture: &StreamFixture) {
    assert_eq!(fixture.recorded_partitions(PARTITIONS).await, PARTITIONS);
    assert_eq!(fixture.recorded_partitions(PARTITIONS * 2).await, PARTITIONS);
}

async fn what_a_partition_carries_is_paged_newest_first(fixture: &StreamFixture) {
    let stream = &*fixture.stream;
    let (place, other) = (partition(1), partition(2));
    assert_eq!(stream.carried_before(&place, None, 10).await.unwrap(), []);
    let large = |event: Event| Event { data: "x".repeat(300_000), ..event };
    let events: Vec<Event> = events_in(1, 50).into_iter().map(large).collect();
    append(stream, &[events.clone(), events_in(2, 3)].concat()).await;
    fixture.append_by_hand(&place, &[("id", b"chat-1"), ("data", b"x")]).await;
    let mut carried = Vec::new();
    loop {
        let before = carried.last().map(|last: &Carried| last.position);
        let page = stream.carried_before(&place, before, 20).await.unwrap();
        assert!(page.len() <= 20 && page.windows(2).all(|pair| pair[0].position > pair[1].position));
        if page.is_empty() {
            break;
        }
        carried.extend(page);
    }
    let expected: Vec<_> =
        [None].into_iter().chain(events.iter().rev().map(|event| Some(event.id))).collect();
    assert_eq!(carried.iter().map(|entry| entry.event_id).collect::<Vec<_>>(), expected);
    assert_eq!(stream.carried_before(&other, None, 10).await.unwrap().len(), 3);
    // What a group has read and acknowledged is carried until it is trimmed.
    stream.ensure_group("g", &stream.partitions(TOPIC)).await.unwrap();
    for entry in read_all(stream, "g").await {
        stream.acknowledge("g", &entry.partition, &[entry.position]).await.unwrap();
    }
    assert_eq!(stream.carried_before(&other, None, 10).await.unwrap().len(), 3);
    stream.trim(&other).await.unwrap();
    assert_eq!(stream.carried_before(&other, None, 10).await.unwrap(), []);
}
