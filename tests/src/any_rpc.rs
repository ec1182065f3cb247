//! Every RPC by its description: its text fields, and a call with bytes.

use http::uri::PathAndQuery;
use prost::{
    Message,
    bytes::{Buf, BufMut},
    encoding::{
        DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
    },
};
use prost_types::{
    DescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use tonic::{
    Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use crate::broker::Caller;

/// An RPC of the protocol.
pub struct Rpc {
    /// Its path.
    pub path: String,
    /// The text fields of its request, also those in messages within.
    pub texts: Vec<TextField>,
    /// Fields of the answer that hold rows.
    rows: Vec<u32>,
    /// The field of the answer that names the next page.
    next: Option<u32>,
}

/// A text field of a request.
pub struct TextField {
    /// Its name with dots, such as `filter.session`.
    pub name: String,
    place: Vec<u32>,
}

/// Every RPC of the package, in the order of their paths.
#[must_use]
pub fn all() -> Vec<Rpc> {
    let set = FileDescriptorSet::decode(jeton_proto::FILE_DESCRIPTOR_SET).unwrap();
    let own: Vec<_> = set.file.iter().filter(|file| file.package() == "jeton.v1").collect();
    let message = |name: &str| {
        let short = name.rsplit('.').next().unwrap();
        let found = own.iter().flat_map(|file| &file.message_type);
        found.into_iter().find(|message| message.name() == short)
    };
    let mut all: Vec<Rpc> = own
        .iter()
        .flat_map(|file| &file.service)
        .flat_map(|service| service.method.iter().map(move |method| (service, method)))
        .map(|(service, method)| {
            let path = format!("/jeton.v1.{}/{}", service.name(), method.name());
            let mut texts = Vec::new();
            walk(message(method.input_type()).unwrap(), &message, "", &[], &mut texts);
            let answer = &message(method.output_type()).unwrap().field;
            let rows = answer.iter().filter(|field| field.label() == Label::Repeated);
            let rows = rows.map(|field| number(field.number())).collect();
            let next = answer.iter().find(|field| field.name() == "next_page_token");
            Rpc { path, texts, rows, next: next.map(|field| number(field.number())) }
        })
        .collect();
    all.sort_by(|one, other| one.path.cmp(&other.path));
    all
}

fn walk<'a>(
    at: &'a DescriptorProto,
    message: &impl Fn(&str) -> Option<&'a DescriptorProto>,
    before: &str,
    place: &[u32],
    found: &mut Vec<TextField>,
) {
    for field in &at.field {
        let name = format!("{before}{}", field.name());
        let place = [place, &[number(field.number())]].concat();
        match field.r#type() {
            Type::String => found.push(TextField { name, place }),
            Type::Message => {
                if let Some(within) = message(field.type_name()) {
                    walk(within, message, &format!("{name}."), &place, found);
                }
            }
            _ => {}
        }
    }
}

fn number(number: i32) -> u32 {
    u32::try_from(number).unwrap()
}

impl TextField {
    /// The request with this field set to a value.
    #[must_use]
    pub fn set(&self, request: &[u8], value: &str) -> Vec<u8> {
        let mut bytes = value.as_bytes().to_vec();
        for field in self.place.iter().rev() {
            let mut outer = Vec::new();
            encode_key(*field, WireType::LengthDelimited, &mut outer);
            encode_varint(bytes.len().try_into().unwrap(), &mut outer);
            outer.extend(bytes);
            bytes = outer;
        }
        // Why it may stand behind: the last value of a field counts, and messages are merged.
        [request, &bytes].concat()
    }
}

impl Rpc {
    /// Calls it and reads the answer, or the whole stream, to its end: how many rows came.
    ///
    /// # Errors
    /// What the broker answered.
    pub async fn call(&self, caller: &Caller, request: Vec<u8>) -> Result<usize, Status> {
        let answers = self.answers(caller, request).await?;
        Ok(answers.iter().map(|answer| self.count(answer)).sum())
    }

    /// The token of the page after the one that is asked for, if there is one.
    pub async fn next_page(&self, caller: &Caller, request: Vec<u8>) -> Option<String> {
        let answers = self.answers(caller, request).await.ok()?;
        let mut answer = answers.first()?.as_slice();
        while answer.has_remaining() {
            let (field, kind) = decode_key(&mut answer).unwrap();
            if Some(field) == self.next {
                let length = usize::try_from(decode_varint(&mut answer).unwrap()).unwrap();
                let token = String::from_utf8(answer[..length].to_vec()).unwrap();
                return Some(token).filter(|token| !token.is_empty());
            }
            skip_field(kind, field, &mut answer, DecodeContext::default()).unwrap();
        }
        None
    }

    async fn answers(&self, caller: &Caller, request: Vec<u8>) -> Result<Vec<Vec<u8>>, Status> {
        let mut grpc = Grpc::new(caller.service());
        grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let path: PathAndQuery = self.path.parse().unwrap();
        let request = tonic::Request::new(request);
        let mut answers = grpc.server_streaming(request, path, Bytes).await?.into_inner();
        let mut all = Vec::new();
        while let Some(answer) = answers.message().await? {
            all.push(answer);
        }
        Ok(all)
    }

    fn count(&self, mut answer: &[u8]) -> usize {
        let mut rows = 0;
        while answer.has_remaining() {
            let (field, kind) = decode_key(&mut answer).unwrap();
            rows += usize::from(self.rows.contains(&field));
            skip_field(kind, field, &mut answer, DecodeContext::default()).unwrap();
        }
        rows
    }
}

/// Messages as they are on the wire.
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}
