//! Between our words and those of lapin.

use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{BasicProperties, ErrorKind};

use super::RabbitError;
use super::link::Message;

pub(super) fn explain(error: &lapin::Error) -> RabbitError {
    match error.kind() {
        ErrorKind::ProtocolError(said) => {
            let text = said.get_message().to_string();
            match said.get_id() {
                403 | 530 => RabbitError::NotAllowed(text),
                404 => RabbitError::NotFound(text),
                405 => RabbitError::NotAllowed(text),
                406 => RabbitError::Differs(text),
                320 => RabbitError::Broken(text),
                _ => RabbitError::Refused(text),
            }
        }
        _ => RabbitError::Broken(error.to_string()),
    }
}

pub(super) fn short(text: &str) -> Result<ShortString, RabbitError> {
    ShortString::try_new(text).map_err(|_| RabbitError::TooLong(text.chars().take(64).collect()))
}

pub(super) fn properties(message: &Message) -> Result<BasicProperties, RabbitError> {
    let mut properties = BasicProperties::default();
    if let Some(text) = &message.content_type {
        properties = properties.with_content_type(short(text)?);
    }
    if let Some(text) = &message.correlation_id {
        properties = properties.with_correlation_id(short(text)?);
    }
    if let Some(text) = &message.reply_to {
        properties = properties.with_reply_to(short(text)?);
    }
    if let Some(text) = &message.expiration {
        properties = properties.with_expiration(short(text)?);
    }
    if message.persistent {
        properties = properties.with_delivery_mode(2);
    }
    let mut headers = FieldTable::default();
    for (name, value) in &message.headers {
        let value = value
            .as_deref()
            .map_or(AMQPValue::Void, |text| AMQPValue::LongString(LongString::from(text)));
        headers.insert(short(name)?, value);
    }
    Ok(properties.with_headers(headers))
}

pub(super) fn message(properties: &BasicProperties, body: Vec<u8>) -> Message {
    let text = |text: &Option<ShortString>| text.as_ref().map(|text| text.as_str().to_owned());
    let headers =
        properties.headers().as_ref().into_iter().flatten().filter_map(|(name, value)| {
            let value = match value {
                AMQPValue::LongString(text) => {
                    Some(String::from_utf8_lossy(text.as_bytes()).into_owned())
                }
                AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
                AMQPValue::Void => None,
                _ => return None,
            };
            Some((name.as_str().to_owned(), value))
        });
    Message {
        body,
        content_type: text(properties.content_type()),
        correlation_id: text(properties.correlation_id()),
        reply_to: text(properties.reply_to()),
        expiration: text(properties.expiration()),
        headers: headers.collect(),
        persistent: properties.delivery_mode() == &Some(2),
    }
}
