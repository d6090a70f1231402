//! What the `EventStream` port promises about entries that were delivered and not acknowledged: whoever holds the
//! partition gets them again, and nobody trims them.

use factline_pipeline::stream::{Delivered, EventStream, Position, RETURNED};

use super::{
    adapters::StreamFixture,
    samples::{TOPIC, events_in, partition, sequences},
    stream::{SOON, read_all, reader},
};

for_every_stream! {
    [
        pending_entries_are_delivered_again_and_counted,
        pending_entries_are_taken_over_page_by_page,
        entries_that_were_left_on_purpose_say_so,
        acknowledged_entries_are_done_with,
        entries_of_another_reader_are_stranded_until_they_are_taken_over,
        trimming_spares_what_a_group_has_pending_or_ahead,
        trimming_spares_everything_until_a_group_reads,
        a_group_does_not_answer_for_another,
    ]
}

/// Reads so many entries of partition 1, as the group's consumer `a`.
async fn read(stream: &dyn EventStream, group: &str, count: usize) -> Vec<Delivered> {
    stream.read_new(&reader(group, "a"), &[partition(1)], count, SOON).await.unwrap()
}

async fn pending(
    stream: &dyn EventStream,
    group: &str,
    after: Option<Position>,
    limit: usize,
) -> Vec<Delivered> {
    stream.take_over_pending(&reader(group, "b"), &partition(1), after, limit).await.unwrap()
}

fn positions(entries: &[Delivered]) -> Vec<Position> {
    entries.iter().map(|entry| entry.position).collect()
}

async fn with_group(fixture: &StreamFixture, entries: i64) -> &dyn EventStream {
    let stream = &*fixture.stream;
    stream.ensure_group("g", &stream.partitions(TOPIC)).await.unwrap();
    stream.append(&events_in(1, entries)).await.unwrap();
    stream
}

async fn pending_entries_are_delivered_again_and_counted(fixture: &StreamFixture) {
    let stream = with_group(fixture, 4).await;
    assert_eq!(pending(stream, "g", None, 100).await, [], "what was never delivered is not pending");
    let first = read(stream, "g", 3).await;
    for deliveries in 2..5 {
        let mut again = pending(stream, "g", None, 100).await;
        assert!(again.iter().all(|entry| entry.deliveries == deliveries));
        let owner = if deliveries == 2 { "a" } else { "b" };
        for entry in &mut again {
            entry.deliveries = 1;
            assert_eq!(entry.taken_from.take().as_deref(), Some(owner));
        }
        assert_eq!(again, first);
    }
    assert_eq!(sequences(&read(stream, "g", 100).await), [3], "nor are they new again");
    let elsewhere = stream.take_over_pending(&reader("g", "b"), &partition(2), None, 100).await.unwrap();
    assert_eq!(elsewhere, []);
}

async fn entries_that_were_left_on_purpose_say_so(fixture: &StreamFixture) {
    let stream = with_group(fixture, 4).await;
    read(stream, "g", 3).await;
    stream.return_pending(&reader("g", "b"), &partition(1)).await.unwrap();
    stream.return_pending(&reader("g", "a"), &partition(1)).await.unwrap();
    assert_eq!(sequences(&read(stream, "g", 9).await), [3], "what is new is not theirs");
    let owners: Vec<_> =
        pending(stream, "g", None, 100).await.into_iter().map(|entry| entry.taken_from).collect();
    let owners: Vec<_> = owners.iter().map(|owner| owner.as_deref().unwrap()).collect();
    assert_eq!(owners, [RETURNED, RETURNED, RETURNED, "a"]);
}

async fn pending_entries_are_taken_over_page_by_page(fixture: &StreamFixture) {
    let stream = with_group(fixture, 5).await;
    read(stream, "g", 100).await;
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = pending(stream, "g", after, 2).await;
        let Some(last) = page.last() else { break };
        after = Some(last.position);
        assert!(
            page.iter().all(|entry| entry.deliveries == 2),
            "each was delivered once more, not once a page"
        );
        pages.push(sequences(&page));
    }
    assert_eq!(pages, [vec![0, 1], vec![2, 3], vec![4]]);
}

async fn acknowledged_entries_are_done_with(fixture: &StreamFixture) {
    let stream = with_group(fixture, 4).await;
    let entries = positions(&read(stream, "g", 100).await);
    for _ in 0..2 {
        stream.acknowledge("g", &partition(1), &[entries[0], entries[2]]).await.unwrap();
        assert_eq!(sequences(&pending(stream, "g", None, 100).await), [1, 3]);
    }
    let unknown = Position { major: u64::MAX, minor: 0 };
    stream.acknowledge("g", &partition(1), &[unknown]).await.unwrap();
    stream.acknowledge("g", &partition(2), &[entries[1]]).await.unwrap();
    assert_eq!(sequences(&pending(stream, "g", None, 100).await), [1, 3]);
    stream.acknowledge("g", &partition(1), &entries).await.unwrap();
    assert_eq!(pending(stream, "g", None, 100).await, []);
    assert_eq!(read_all(stream, "g").await, []);
}

async fn entries_of_another_reader_are_stranded_until_they_are_taken_over(fixture: &StreamFixture) {
    let stream = &*fixture.stream;
    let (partitions, holder) = (stream.partitions(TOPIC), reader("g", "b"));
    let stranded = || async { stream.stranded(&holder, &partitions).await.unwrap() };
    assert_eq!(stranded().await, [], "nobody knows the group");
    stream.ensure_group("g", &partitions).await.unwrap();
    stream.ensure_group("h", &partitions).await.unwrap();
    stream.append(&[events_in(1, 3), events_in(2, 1)].concat()).await.unwrap();
    assert_eq!(stranded().await, []);
    read(stream, "h", 1).await;
    stream.read_new(&holder, &partitions[2..], 100, SOON).await.unwrap();
    assert_eq!(stranded().await, [], "the reader's own, and another group's");
    stream.read_new(&holder, &[partition(1)], 1, SOON).await.unwrap();
    let entries = positions(&read(stream, "g", 1).await);
    assert_eq!(stranded().await, [partition(1)], "one of the former holder's beside the reader's own");
    assert_eq!(stream.stranded(&holder, &partitions[2..]).await.unwrap(), [], "which it did not ask about");
    assert_eq!(pending(stream, "g", None, 100).await.len(), 2);
    assert_eq!(stranded().await, []);
    read(stream, "g", 1).await;
    assert_eq!(stranded().await, [partition(1)]);
    stream.acknowledge("g", &partition(1), &entries).await.unwrap();
    assert_eq!(stranded().await, [partition(1)]);
    let entries = positions(&pending(stream, "g", None, 100).await);
    stream.acknowledge("g", &partition(1), &entries).await.unwrap();
    assert_eq!(stranded().await, []);
}

async fn trimming_spares_what_a_group_has_pending_or_ahead(fixture: &StreamFixture) {
    let stream = with_group(fixture, 6).await;
    let entries = positions(&read(stream, "g", 4).await);
    let place = partition(1);
    assert_eq!(stream.trim(&place).await.unwrap(), 0, "four are pending");
    stream.acknowledge("g", &place, &entries[1..2]).await.unwrap();
    assert_eq!(stream.trim(&place).await.unwrap(), 0, "the oldest one still is");
    stream.acknowledge("g", &place, &entries[..1]).await.unwrap();
    assert_eq!(stream.trim(&place).await.unwrap(), 2);
    assert_eq!(stream.trim(&place).await.unwrap(), 0, "nothing is left to trim");
    assert_eq!(sequences(&pending(stream, "g", None, 100).await), [2, 3]);
    assert_eq!(sequences(&read(stream, "g", 100).await), [4, 5]);
    stream.acknowledge("g", &place, &positions(&pending(stream, "g", None, 100).await)).await.unwrap();
    assert_eq!(stream.trim(&place).await.unwrap(), 4);
    stream.append(&events_in(1, 1)).await.unwrap();
    assert_eq!(sequences(&read(stream, "g", 100).await), [0], "positions go on after everything was trimmed");
}

async fn trimming_spares_everything_until_a_group_reads(fixture: &StreamFixture) {
    let stream = &*fixture.stream;
    stream.append(&events_in(1, 3)).await.unwrap();
    assert_eq!(stream.trim(&partition(1)).await.unwrap(), 0, "no group is known");
    stream.ensure_group("g", &[partition(1)]).await.unwrap();
    assert_eq!(stream.trim(&partition(1)).await.unwrap(), 0, "the group has not begun");
    assert_eq!(stream.trim(&partition(2)).await.unwrap(), 0, "there is nothing");
    assert_eq!(sequences(&read(stream, "g", 100).await), [0, 1, 2]);
}

async fn a_group_does_not_answer_for_another(fixture: &StreamFixture) {
    let stream = with_group(fixture, 3).await;
    stream.ensure_group("h", &[partition(1)]).await.unwrap();
    let entries = positions(&read(stream, "g", 100).await);
    stream.acknowledge("g", &partition(1), &entries).await.unwrap();
    assert_eq!(stream.trim(&partition(1)).await.unwrap(), 0, "the other group has read none");
    assert_eq!(positions(&read(stream, "h", 100).await), entries);
    stream.acknowledge("g", &partition(1), &entries).await.unwrap();
    assert_eq!(positions(&pending(stream, "h", None, 100).await), entries);
    stream.acknowledge("h", &partition(1), &entries).await.unwrap();
    assert_eq!(stream.trim(&partition(1)).await.unwrap(), 3);
}
