//! What holds for every packet, every byte string, every number and every topic.

use mqtt_proto::Version::{V5, V31, V311};
use mqtt_proto::property::{PropertyId, raw_properties};
use mqtt_proto::{
    Ack, AckProperties, Auth, AuthProperties, ConnAck, ConnAckProperties, Connect, ConnectProperties,
    Disconnect, DisconnectProperties, EncodeError, FILLER, Field, FixedHeader, Limits, Mask, Packet,
    PacketId, PacketType, PayloadFormat, Publish, PublishHead, PublishProperties, QoS, ReasonCode,
    ReasonCodes, RetainHandling, SliceSink, SubAck, Subscribe, SubscribeFilters, SubscribeOptions,
    SubscriptionIds, TopicFilter, TopicName, UnsubAck, Unsubscribe, UnsubscribeFilters, UserProperties,
    Version, Will, WillProperties, varint,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::Cell;

const TEXT: &str = "[^\\x00]{0,12}";
const TOPIC: &str = "[^\\x00+#]{1,12}";

/// Values from which a packet of each type is made.
#[derive(Clone, Debug)]
struct Drawn {
    text: String,
    topics: [String; 2],
    binary: Vec<u8>,
    payload: Vec<u8>,
    pairs: Vec<(String, String)>,
    filters: Vec<(String, u8)>,
    numbers: Vec<u32>,
    codes: Vec<usize>,
    packet_id: u16,
    two: u16,
    four: u32,
    /// One bit for every choice, used up from the front.
    choices: u64,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    (
        (TEXT, [TOPIC, TOPIC], vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..300)),
        (vec((TEXT, TEXT), 0..4), vec((TEXT, any::<u8>()), 1..4)),
        (vec(1..=varint::MAX, 1..4), vec(any::<usize>(), 1..5)),
        (1..=u16::MAX, 1..=u16::MAX, 1..=u32::MAX, any::<u64>()),
    )
        .prop_map(|((text, topics, binary, payload), (pairs, filters), (numbers, codes), fixed)| {
            let (packet_id, two, four, choices) = fixed;
            Drawn {
                text,
                topics,
                binary,
                payload,
                pairs,
                filters,
                numbers,
                codes,
                packet_id,
                two,
                four,
                choices,
            }
        })
}

struct Choices(Cell<u64>);

impl Choices {
    fn yes(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.rotate_right(1));
        left & 1 != 0
    }

    fn maybe<T>(&self, value: T) -> Option<T> {
        self.yes().then_some(value)
    }

    fn maybe_flag(&self) -> Option<bool> {
        self.maybe(()).map(|()| self.yes())
    }

    fn qos(&self) -> QoS {
        match (self.yes(), self.yes()) {
            (true, _) => QoS::ExactlyOnce,
            (false, true) => QoS::AtLeastOnce,
            (false, false) => QoS::AtMostOnce,
        }
    }
}

fn options(bits: u8, version: Version) -> SubscribeOptions {
    let qos = QoS::from_bits(bits % 3).unwrap();
    if !version.is_v5() {
        return SubscribeOptions { qos, ..SubscribeOptions::default() };
    }
    let handling = [RetainHandling::SendAlways, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
    SubscribeOptions {
        qos,
        no_local: bits & 0x20 != 0,
        retain_as_published: bits & 0x40 != 0,
        retain_handling: handling[usize::from(bits / 3 % 3)],
    }
}

/// Codes that the packet may carry in this version.
fn reasons(packet: PacketType, version: Version) -> Vec<ReasonCode> {
    let all = ReasonCode::ALL.iter().copied();
    match packet {
        _ if version.is_v5() => all.filter(|reason| reason.allowed_in(packet)).collect(),
        PacketType::ConnAck => (0..=5).filter_map(ReasonCode::from_connack_v3).collect(),
        PacketType::SubAck => [0, 1, 2, 0x80].into_iter().filter_map(ReasonCode::from_u8).collect(),
        _ => vec![ReasonCode::Success],
    }
}

/// Makes a packet of each type that the version has.
#[allow(clippy::too_many_lines)] // A list of packets.
fn each_packet(drawn: &Drawn, version: Version, mut check: impl FnMut(&Packet<'_>)) {
    let choices = Choices(Cell::new(drawn.choices));
    let pairs: Vec<_> = drawn.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let filters: Vec<_> =
        drawn.filters.iter().map(|(text, bits)| (text.as_str(), options(*bits, version))).collect();
    let names: Vec<_> = drawn.filters.iter().map(|(text, _)| text.as_str()).collect();
    let (text, binary) = (drawn.text.as_str(), drawn.binary.as_slice());
    let [topic, response_topic] = drawn.topics.each_ref().map(|topic| TopicName::parse(topic).unwrap());
    let (two, four, v5) = (drawn.two, drawn.four, version.is_v5());
    let packet_id = PacketId::new(drawn.packet_id).unwrap();
    let user_properties = if v5 { UserProperties::Pairs(&pairs) } else { UserProperties::default() };
    let pick = |packet, at: usize| {
        let reasons = reasons(packet, version);
        reasons[at % reasons.len()]
    };
    let reason = |packet| pick(packet, drawn.codes[0]);
    let format = || if choices.yes() { PayloadFormat::Utf8 } else { PayloadFormat::Bytes };
    let authentication_method = choices.maybe(text);
    let authentication_data = authentication_method.and_then(|_| choices.maybe(binary));

    let will_properties = || WillProperties {
        will_delay_interval: choices.maybe(four),
        payload_format: choices.maybe(format()),
        message_expiry_interval: choices.maybe(four),
        content_type: choices.maybe(text),
        response_topic: choices.maybe(response_topic),
        correlation_data: choices.maybe(binary),
        user_properties,
        encoded: &[],
    };
    let connect_properties = || ConnectProperties {
        session_expiry_interval: choices.maybe(four),
        receive_maximum: choices.maybe(two),
        maximum_packet_size: choices.maybe(four),
        topic_alias_maximum: choices.maybe(two),
        request_response_information: choices.maybe_flag(),
        request_problem_information: choices.maybe_flag(),
        authentication_method,
        authentication_data,
        user_properties,
    };
    let will = Will {
        topic,
        payload: &drawn.payload,
        qos: choices.qos(),
        retain: choices.yes(),
        properties: v5.then(will_properties).unwrap_or_default(),
    };
    let username = choices.maybe(text);
    check(&Packet::Connect(Connect {
        version,
        client_id: text,
        clean_start: choices.yes(),
        keep_alive: two,
        username,
        password: if v5 || username.is_some() { choices.maybe(binary) } else { None },
        will: choices.maybe(will),
        properties: v5.then(connect_properties).unwrap_or_default(),
    }));

    let connack_properties = || ConnAckProperties {
        session_expiry_interval: choices.maybe(four),
        receive_maximum: choices.maybe(two),
        maximum_qos: choices.maybe(if choices.yes() { QoS::AtLeastOnce } else { QoS::AtMostOnce }),
        retain_available: choices.maybe_flag(),
        maximum_packet_size: choices.maybe(four),
        assigned_client_id: choices.maybe(text),
        topic_alias_maximum: choices.maybe(two),
        reason_string: choices.maybe(text),
        user_properties,
        wildcard_subscription_available: choices.maybe_flag(),
        subscription_ids_available: choices.maybe_flag(),
        shared_subscription_available: choices.maybe_flag(),
        server_keep_alive: choices.maybe(two),
        response_information: choices.maybe(text),
        server_reference: choices.maybe(text),
        authentication_method,
        authentication_data,
    };
    check(&Packet::ConnAck(ConnAck {
        session_present: choices.yes(),
        reason: reason(PacketType::ConnAck),
        properties: v5.then(connack_properties).unwrap_or_default(),
    }));

    let publish_properties = || PublishProperties {
        payload_format: choices.maybe(format()),
        message_expiry_interval: choices.maybe(four),
        topic_alias: choices.maybe(two),
        response_topic: choices.maybe(response_topic),
        correlation_data: choices.maybe(binary),
        content_type: choices.maybe(text),
        user_properties,
        subscription_ids: choices.maybe(SubscriptionIds::List(&drawn.numbers)).unwrap_or_default(),
        encoded: &[],
    };
    let (qos, properties) = (choices.qos(), v5.then(publish_properties).unwrap_or_default());
    check(&Packet::Publish(Publish {
        dup: qos > QoS::AtMostOnce && choices.yes(),
        qos,
        retain: choices.yes(),
        topic: if properties.topic_alias.is_some() { choices.maybe(topic) } else { Some(topic) },
        packet_id: (qos > QoS::AtMostOnce).then_some(packet_id),
        properties,
        payload: &drawn.payload,
    }));

    let properties = AckProperties { reason_string: choices.maybe(text).filter(|_| v5), user_properties };
    let ack = |packet| Ack { packet_id, reason: reason(packet), properties };
    check(&Packet::PubAck(ack(PacketType::PubAck)));
    check(&Packet::PubRec(ack(PacketType::PubRec)));
    check(&Packet::PubRel(ack(PacketType::PubRel)));
    check(&Packet::PubComp(ack(PacketType::PubComp)));

    let subscription_id = choices.maybe(drawn.numbers[0]).filter(|_| v5);
    let list = SubscribeFilters::List(&filters);
    check(&Packet::Subscribe(Subscribe { packet_id, subscription_id, user_properties, filters: list }));
    let codes: Vec<_> = drawn.codes.iter().map(|at| pick(PacketType::SubAck, *at)).collect();
    check(&Packet::SubAck(SubAck { packet_id, properties, reasons: ReasonCodes::List(&codes) }));
    let list = UnsubscribeFilters::List(&names);
    check(&Packet::Unsubscribe(Unsubscribe { packet_id, user_properties, filters: list }));
    let mut codes: Vec<_> = drawn.codes.iter().map(|at| pick(PacketType::UnsubAck, *at)).collect();
    codes.retain(|_| v5);
    check(&Packet::UnsubAck(UnsubAck { packet_id, properties, reasons: ReasonCodes::List(&codes) }));

    check(&Packet::PingReq);
    check(&Packet::PingResp);
    let disconnect_properties = || DisconnectProperties {
        session_expiry_interval: choices.maybe(four),
        reason_string: choices.maybe(text),
        user_properties,
        server_reference: choices.maybe(text),
    };
    check(&Packet::Disconnect(Disconnect {
        reason: reason(PacketType::Disconnect),
        properties: v5.then(disconnect_properties).unwrap_or_default(),
    }));
    let properties = AuthProperties {
        authentication_method,
        authentication_data,
        reason_string: choices.maybe(text),
        user_properties,
    };
    let auth = Packet::Auth(Auth { reason: reason(PacketType::Auth), properties });
    if v5 {
        check(&auth);
    } else {
        assert_eq!(auth.encoded_len(version), Err(EncodeError::NotInThisVersion));
    }
}

fn encode(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut buffer = vec![0; packet.encoded_len(version).unwrap() as usize];
    packet.encode(version, &mut SliceSink::new(&mut buffer)).unwrap();
    buffer
}

/// The packet without the copy of its properties that only a decoded packet has.
fn bare(mut packet: Packet<'_>) -> Packet<'_> {
    match &mut packet {
        Packet::Publish(publish) => publish.properties.encoded = &[],
        Packet::Connect(Connect { will: Some(will), .. }) => will.properties.encoded = &[],
        _ => {}
    }
    packet
}

/// The packet as a broker sends it on: head, properties as they came, payload.
fn send_on(publish: &Publish<'_>, version: Version) -> Vec<u8> {
    let own = [PropertyId::MessageExpiryInterval, PropertyId::TopicAlias, PropertyId::SubscriptionIdentifier];
    let properties = raw_properties(publish.properties.raw()).filter(|(id, _)| !own.contains(id));
    let forwarded: Vec<u8> = properties.flat_map(|(_, bytes)| bytes.to_vec()).collect();
    let head = PublishHead {
        dup: publish.dup,
        qos: publish.qos,
        retain: publish.retain,
        topic: publish.topic.map_or("", TopicName::as_str),
        packet_id: publish.packet_id,
        message_expiry_interval: publish.properties.message_expiry_interval,
        topic_alias: publish.properties.topic_alias,
        subscription_ids: publish.properties.subscription_ids,
        forwarded: &forwarded,
        payload_len: u32::try_from(publish.payload.len()).unwrap(),
    };
    let mut bytes = vec![0; head.packet_len(version).unwrap() as usize - publish.payload.len()];
    let layout = head.encode(version, &mut SliceSink::new(&mut bytes)).unwrap();
    assert_eq!(layout.len as usize, bytes.len());
    let id_at = layout.packet_id_at.map(|at| &bytes[at as usize..][..2]);
    assert_eq!(id_at, publish.packet_id.map(|id| id.get().to_be_bytes()).as_ref().map(|id| &id[..]));
    [&bytes, publish.payload].concat()
}

/// The packet without what a mask hides.
fn hidden<'a>(packet: &Packet<'a>, filler: &'a [u8]) -> Packet<'a> {
    let hide = |secret: &mut Option<&'a [u8]>| *secret = secret.map(|secret| &filler[..secret.len()]);
    let mut packet = packet.clone();
    match &mut packet {
        Packet::Connect(connect) => {
            hide(&mut connect.password);
            hide(&mut connect.properties.authentication_data);
            if let Some(will) = &mut connect.will {
                will.payload = &filler[..will.payload.len()];
            }
        }
        Packet::ConnAck(connack) => hide(&mut connack.properties.authentication_data),
        Packet::Auth(auth) => hide(&mut auth.properties.authentication_data),
        Packet::Publish(publish) => publish.payload = &filler[..publish.payload.len()],
        _ => {}
    }
    packet
}

proptest! {
    #[test]
    fn a_mask_hides_secrets_and_nothing_else(drawn in drawn(), piece in 1_usize..20) {
        let filler = [FILLER; 300];
        for version in [V31, V311, V5] {
            let mut mask = Mask::between_packets(version, true);
            each_packet(&drawn, version, |packet| {
                let mut bytes = encode(packet, version);
                bytes.chunks_mut(piece).for_each(|piece| mask.apply(piece));
                let (decoded, len) = Packet::parse(&bytes, version, &Limits::NONE).unwrap().unwrap();
                assert_eq!((bare(decoded), len), (hidden(packet, &filler), bytes.len()));
            });
        }
    }

    #[test]
    fn a_mask_takes_any_bytes(mut bytes in vec(any::<u8>(), 0..80), piece in 1_usize..20) {
        let mut mask = Mask::new(true);
        let mut whole = bytes.clone();
        bytes.chunks_mut(piece).for_each(|piece| mask.apply(piece));
        Mask::new(true).apply(&mut whole);
        prop_assert_eq!(whole, bytes);
    }

    #[test]
    fn what_was_encoded_decodes_to_the_same(drawn in drawn()) {
        for version in [V31, V311, V5] {
            each_packet(&drawn, version, |packet| {
                let bytes = encode(packet, version);
                let (decoded, len) = Packet::parse(&bytes, version, &Limits::NONE).unwrap().unwrap();
                assert_eq!((&bare(decoded.clone()), len), (packet, bytes.len()));
                assert_eq!(encode(&decoded, version), bytes);
                if let Packet::Publish(publish) = decoded {
                    let sent_on = send_on(&publish, version);
                    let (decoded, len) = Packet::parse(&sent_on, version, &Limits::NONE).unwrap().unwrap();
                    assert_eq!((&bare(decoded), len), (packet, sent_on.len()));
                }
            });
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..80)) {
        for version in [V31, V311, V5] {
            if let Ok(Some((_, len))) = Packet::parse(&bytes, version, &Limits::default()) {
                prop_assert!(len <= bytes.len());
            }
        }
    }

    /// With first byte and length that are right, so that bodies are reached.
    #[test]
    fn arbitrary_bodies_do_not_panic(packet in 1_u8..16, flags in 0_u8..16, body in vec(0_u8..0x30, 0..80)) {
        for flags in [0, 2, flags] {
            let bytes = [&[packet << 4 | flags, u8::try_from(body.len()).unwrap()], &body[..]].concat();
            for version in [V31, V311, V5] {
                prop_assert_ne!(Packet::parse(&bytes, version, &Limits::default()), Ok(None));
            }
        }
    }

    #[test]
    fn variable_byte_integers_come_back(value in 0..=varint::MAX) {
        check_varint(value);
    }

    /// Every other encoding of a number is refused.
    #[test]
    fn variable_byte_integers_have_one_encoding(bytes in [any::<u8>(); 4]) {
        if let Ok(Some((value, len))) = varint::decode(&bytes, Field::Body) {
            prop_assert_eq!(varint::encode(value).unwrap(), &bytes[..usize::from(len)]);
        }
    }
}

fn check_varint(value: u32) {
    let bytes = varint::encode(value).unwrap();
    assert_eq!(bytes.len(), varint::len(value) as usize);
    assert_eq!(varint::decode(&bytes, Field::Body), Ok(Some((value, u8::try_from(bytes.len()).unwrap()))));
    for end in 0..bytes.len() {
        assert_eq!(varint::decode(&bytes[..end], Field::Body), Ok(None));
    }
}

#[test]
fn variable_byte_integers_are_as_short_as_can_be() {
    let boundaries: [(u32, &[u8]); 8] = [
        (0, b"\0"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (16_383, b"\xff\x7f"),
        (16_384, b"\x80\x80\x01"),
        (2_097_151, b"\xff\xff\x7f"),
        (2_097_152, b"\x80\x80\x80\x01"),
        (268_435_455, b"\xff\xff\xff\x7f"),
    ];
    for (value, bytes) in boundaries {
        assert_eq!(varint::encode(value).unwrap(), bytes);
        check_varint(value);
    }
    assert_eq!(varint::encode(varint::MAX + 1), None);
    assert_eq!(varint::encode(u32::MAX), None);
    for bad in
        [&b"\x80\0"[..], b"\x80\x80\0", b"\xff\x80\x80\0", b"\xff\xff\xff\xff", b"\x80\x80\x80\x80\x01"]
    {
        assert!(varint::decode(bad, Field::Body).is_err(), "{bad:02x?}");
    }
}

/// Every list of one to three levels.
fn levels(alphabet: &[&'static str]) -> Vec<Vec<&'static str>> {
    let longer = |lists: &[Vec<&'static str>]| -> Vec<Vec<&'static str>> {
        lists
            .iter()
            .flat_map(|list| alphabet.iter().map(move |level| [list, &[*level][..]].concat()))
            .collect()
    };
    let one = longer(&[vec![]]);
    let two = longer(&one);
    let three = longer(&two);
    [one, two, three].concat()
}

/// Matching in the words of the standard, one level at a time.
fn reaches(filter: &[&str], name: &[&str]) -> bool {
    match (filter.split_first(), name.split_first()) {
        // "sport/#" also matches the parent level.
        (None, None) | (Some((&"#", _)), _) => true,
        (Some((&"+", filter)), Some((_, name))) => reaches(filter, name),
        (Some((level, filter)), Some((other, name))) => level == other && reaches(filter, name),
        _ => false,
    }
}

#[test]
fn matching_agrees_with_the_standard_on_all_small_filters_and_names() {
    let all = levels(&["a", "b", "+", "#", "", "$x"]);
    let (mut matched, mut compared) = (0, 0);
    for filter in &all {
        let text = filter.join("/");
        let well_formed = !text.is_empty() && filter.iter().rev().skip(1).all(|level| *level != "#");
        let parsed = TopicFilter::parse(&text);
        assert_eq!(parsed.is_ok(), well_formed, "{text:?}");
        for name in &all {
            let topic = name.join("/");
            let wild = name.iter().any(|level| ["+", "#"].contains(level));
            let parsed_name = TopicName::parse(&topic);
            assert_eq!(parsed_name.is_ok(), !topic.is_empty() && !wild, "{topic:?}");
            let (Ok(filter_), Ok(name_)) = (parsed, parsed_name) else { continue };
            let hidden = topic.starts_with('$') && ["+", "#"].contains(&filter[0]);
            let expected = !hidden && reaches(filter, name);
            assert_eq!(filter_.matches(name_), expected, "{text:?} {topic:?}");
            let shared = format!("$share/group/{text}");
            assert_eq!(TopicFilter::parse(&shared).unwrap().matches(name_), expected, "{shared:?} {topic:?}");
            compared += 1;
            matched += u32::from(expected);
        }
    }
    assert!(compared > 10_000 && matched > 500, "{matched} of {compared}");
}

proptest! {
    /// A header is complete with the same byte, whatever follows.
    #[test]
    fn headers_do_not_depend_on_what_follows(bytes in vec(any::<u8>(), 0..8)) {
        if let Ok(Some(header)) = FixedHeader::parse(&bytes) {
            let len = usize::from(header.header_len);
            prop_assert_eq!(FixedHeader::parse(&bytes[..len]), Ok(Some(header)));
            prop_assert_eq!(FixedHeader::parse(&bytes[..len - 1]), Ok(None));
        }
    }
}
