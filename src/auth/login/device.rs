//! Consent by a code that the user enters on another device (RFC 8628).

use oauth2::{DeviceAuthorizationUrl, StandardDeviceAuthorizationResponse};
use secrecy::SecretString;

use super::super::answer::Answer;
use super::super::endpoint::Endpoint;
use super::{Asker, LoginError, PATIENCE, Step, error};

impl Asker<'_> {
    /// Gets a code, has it shown, and asks as often as the server allows whether it was entered.
    pub(super) async fn by_device(&self, show: impl FnOnce(Step)) -> Result<Answer, LoginError> {
        let Some(url) = &self.application.consent.device_url else {
            return Err(LoginError::NoDeviceUrl);
        };
        let codes = Endpoint::new(url, self.application.ca_file.as_deref());
        let client = self
            .client()
            .set_device_authorization_url(DeviceAuthorizationUrl::from_url(url.clone()));
        let request = client.exchange_device_code().add_scopes(self.scopes());
        let asked: Result<StandardDeviceAuthorizationResponse, _> =
            request.request_async(&codes).await;
        let asker = || format!("the application {}", self.application.client_id);
        let code =
            asked.map_err(|error| error::of_request(&codes, asker(), error, &self.sent(&[])))?;
        let life = code.expires_in().min(PATIENCE);
        show(Step::Enter {
            url: code.verification_uri().to_string(),
            code: code.user_code().secret().clone(),
            complete: code.verification_uri_complete().map(|url| url.secret().clone()),
            life,
        });
        let sent = self.sent(&[&SecretString::from(code.device_code().secret().as_str())]);
        // Waits between its questions as RFC 8628, 3.5, says: `authorization_pending`, `slow_down`.
        let entered = client.exchange_device_access_token(&code).request_async(
            &self.tokens,
            tokio::time::sleep,
            Some(life),
        );
        match tokio::time::timeout(life, entered).await {
            Ok(answer) => {
                answer.map_err(|error| error::of_request(&self.tokens, asker(), error, &sent))
            }
            Err(_) => Err(LoginError::Expired(life)),
        }
    }
}
