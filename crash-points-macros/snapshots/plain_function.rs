#[crash_points]
pub fn total(prices: &[u64]) -> u64 {
    let sum: u64 = prices.iter().sum();
    let tax = sum / 10; let rounded = tax - tax % 5;
    log(sum);
    sum + rounded
}

#[crash_points]
async fn fetch(id: u32) -> Result<String, Error> {
    let body = get(id).await?;
    store(&body).await?;
    Ok(body)
}
