//! Large files of the host's repositories: asked for here, kept at a host of their own.

use std::sync::Mutex;

use axum::body::Body;
use http::{Response, StatusCode, header::CONTENT_TYPE};

use super::Refusal;
use crate::large_files::LargeFiles;

/// Where they are kept, and what was said there.
#[derive(Default)]
pub struct Large {
    url: Mutex<Option<String>>,
    said: Mutex<Vec<String>>,
}

impl Large {
    /// They are kept here from now on.
    pub fn keep_at(&self, files: &LargeFiles) {
        *self.url.lock().unwrap() = Some(files.url().to_owned());
    }

    /// What was answered to batches, with the addresses that open by themselves.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    pub(super) async fn batch(
        &self,
        repo: &str,
        asked: Vec<u8>,
    ) -> Result<Response<Body>, Refusal> {
        let url = self.url.lock().unwrap().clone().ok_or_else(super::not_found)?;
        let answer = reqwest::Client::new()
            .post(format!("{url}/{repo}.git/info/lfs/objects/batch"))
            .header("authorization", format!("Bearer {}", LargeFiles::token(repo)))
            .header("accept", "application/vnd.git-lfs+json")
            .header("content-type", "application/vnd.git-lfs+json")
            .body(asked)
            .send()
            .await
            .unwrap();
        let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
        let text = answer.text().await.unwrap();
        self.said.lock().unwrap().push(text.clone());
        let mut told = Response::new(Body::from(text));
        *told.status_mut() = status;
        let kind = "application/vnd.git-lfs+json".parse().unwrap();
        told.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(told)
    }
}
