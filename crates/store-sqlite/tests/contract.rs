//! The contract every backend passes, run against SQLite, one test per promise.

#![cfg(test)]

use std::{future::Future, sync::Arc};

use counterfoil_store::{
    Store,
    contract::{
        access, aggregates, alerts, among, append, archive, catalog, concurrent, corrections,
        documents, invoices, jobs, journal, leases, outbox, reads, runs, tenants,
    },
};
use counterfoil_store_sqlite::SqliteStore;
use sqlx::Row;

/// Runs a promise against a fresh store.
async fn on<F: Future<Output = ()>>(promise: impl FnOnce(Arc<dyn Store>) -> F) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
    promise(Arc::new(store.clone())).await;
    store.close().await;
}

#[tokio::test]
async fn dup_same_body_is_noop() {
    on(append::dup_same_body_is_noop).await;
}

#[tokio::test]
async fn dup_other_body_is_conflict() {
    on(append::dup_other_body_is_conflict).await;
}

#[tokio::test]
async fn equal_numbers_written_differently_are_one_event() {
    on(append::equal_numbers_written_differently_are_one_event).await;
}

#[tokio::test]
async fn dup_within_a_batch_gets_the_first_position() {
    on(append::dup_within_a_batch_gets_the_first_position).await;
}

#[tokio::test]
async fn dup_across_batches_in_any_order() {
    on(append::dup_across_batches_in_any_order).await;
}

#[tokio::test]
async fn conflict_inside_a_batch_sinks_no_neighbour() {
    on(append::conflict_inside_a_batch_sinks_no_neighbour).await;
}

#[tokio::test]
async fn same_key_for_a_customer_of_another_lane_is_conflict() {
    on(append::same_key_for_a_customer_of_another_lane_is_conflict).await;
}

#[tokio::test]
async fn positions_are_contiguous_and_follow_the_batch() {
    on(append::positions_are_contiguous_and_follow_the_batch).await;
}

#[tokio::test]
async fn order_holds_when_the_key_of_a_refused_event_returns() {
    on(append::order_holds_when_the_key_of_a_refused_event_returns).await;
}

#[tokio::test]
async fn recorded_at_never_decreases_when_the_clock_jumps_back() {
    on(append::recorded_at_never_decreases_when_the_clock_jumps_back).await;
}

#[tokio::test]
async fn an_empty_batch_is_nothing() {
    on(append::an_empty_batch_is_nothing).await;
}

#[tokio::test]
async fn corrections_name_the_position_they_correct() {
    on(corrections::corrections_name_the_position_they_correct).await;
}

#[tokio::test]
async fn corrections_are_found_by_the_positions_they_correct() {
    on(corrections::corrections_are_found_by_the_positions_they_correct).await;
}

#[tokio::test]
async fn corrections_of_the_wrong_event_are_refused() {
    on(corrections::corrections_of_the_wrong_event_are_refused).await;
}

#[tokio::test]
async fn a_reversed_event_takes_no_more_corrections() {
    on(corrections::a_reversed_event_takes_no_more_corrections).await;
}

#[tokio::test]
async fn a_correction_sent_twice_is_one() {
    on(corrections::a_correction_sent_twice_is_one).await;
}

#[tokio::test]
async fn a_correction_may_follow_its_target_in_one_batch() {
    on(corrections::a_correction_may_follow_its_target_in_one_batch).await;
}

#[tokio::test]
async fn reads_keep_to_range_customer_and_limit() {
    on(reads::reads_keep_to_range_customer_and_limit).await;
}

#[tokio::test]
async fn events_are_found_by_their_identity() {
    on(reads::events_are_found_by_their_identity).await;
}

#[tokio::test]
async fn decimals_read_back_exactly() {
    on(reads::decimals_read_back_exactly).await;
}

#[tokio::test]
async fn any_text_reads_back_as_it_was() {
    on(reads::any_text_reads_back_as_it_was).await;
}

#[tokio::test]
async fn times_read_back_to_the_microsecond() {
    on(reads::times_read_back_to_the_microsecond).await;
}

#[tokio::test]
async fn dup_concurrent_has_exactly_one_winner() {
    on(concurrent::dup_concurrent_has_exactly_one_winner).await;
}

#[tokio::test]
async fn overlapping_batches_at_once_store_each_key_once() {
    on(concurrent::overlapping_batches_at_once_store_each_key_once).await;
}

#[tokio::test]
async fn a_reader_skips_no_row_while_others_write() {
    on(concurrent::a_reader_skips_no_row_while_others_write).await;
}

#[tokio::test]
async fn one_of_many_projectors_wins_each_step() {
    on(concurrent::one_of_many_projectors_wins_each_step).await;
}

#[tokio::test]
async fn double_finalization_gives_one_number() {
    on(concurrent::double_finalization_gives_one_number).await;
}

#[tokio::test]
async fn buckets_read_back_as_projected() {
    on(aggregates::buckets_read_back_as_projected).await;
}

#[tokio::test]
async fn a_losing_projector_leaves_nothing() {
    on(aggregates::a_losing_projector_leaves_nothing).await;
}

#[tokio::test]
async fn usage_reads_exactly_the_spans() {
    on(aggregates::usage_reads_exactly_the_spans).await;
}

#[tokio::test]
async fn members_count_up_and_down() {
    on(aggregates::members_count_up_and_down).await;
}

#[tokio::test]
async fn late_changes_are_noticed_by_position() {
    on(aggregates::late_changes_are_noticed_by_position).await;
}

#[tokio::test]
async fn all_buckets_come_page_by_page() {
    on(aggregates::all_buckets_come_page_by_page).await;
}

#[tokio::test]
async fn forgetting_a_lane_leaves_the_others() {
    on(aggregates::forgetting_a_lane_leaves_the_others).await;
}

#[tokio::test]
async fn a_tenant_is_created_once() {
    on(catalog::a_tenant_is_created_once).await;
}

#[tokio::test]
async fn an_unknown_tenant_takes_no_writes() {
    on(catalog::an_unknown_tenant_takes_no_writes).await;
}

#[tokio::test]
async fn customers_are_replaced_and_paged() {
    on(catalog::customers_are_replaced_and_paged).await;
}

#[tokio::test]
async fn subscriptions_are_replaced_and_paged() {
    on(catalog::subscriptions_are_replaced_and_paged).await;
}

#[tokio::test]
async fn a_published_book_never_changes() {
    on(catalog::a_published_book_never_changes).await;
}

#[tokio::test]
async fn a_registered_meter_keeps_its_definition() {
    on(catalog::a_registered_meter_keeps_its_definition).await;
}

#[tokio::test]
async fn a_draft_is_replaced_freely() {
    on(invoices::a_draft_is_replaced_freely).await;
}

#[tokio::test]
async fn a_finalized_invoice_never_changes() {
    on(invoices::a_finalized_invoice_never_changes).await;
}

#[tokio::test]
async fn numbers_have_no_gap_in_any_series() {
    on(invoices::numbers_have_no_gap_in_any_series).await;
}

#[tokio::test]
async fn an_invoice_over_nothing_is_paid_at_once() {
    on(invoices::an_invoice_over_nothing_is_paid_at_once).await;
}

#[tokio::test]
async fn invoices_are_listed_and_paged() {
    on(invoices::invoices_are_listed_and_paged).await;
}

#[tokio::test]
async fn finalization_queues_one_effect() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
    let queued = async |tenant: &counterfoil_types::TenantId| -> i64 {
        sqlx::query(
            "SELECT count(*) FROM outbox o JOIN tenant t ON t.number = o.tenant WHERE t.id = ?",
        )
        .bind(tenant.as_str())
        .fetch_one(store.writer())
        .await
        .unwrap()
        .get(0)
    };
    invoices::finalization_queues_one_effect(Arc::new(store.clone()), queued).await;
}

#[tokio::test]
async fn a_run_never_goes_back() {
    on(runs::a_run_never_goes_back).await;
}

#[tokio::test]
async fn a_sign_off_stays_with_who_gave_it() {
    on(runs::a_sign_off_stays_with_who_gave_it).await;
}

#[tokio::test]
async fn runs_are_listed_by_period_and_attempt() {
    on(runs::runs_are_listed_by_period_and_attempt).await;
}

#[tokio::test]
async fn a_finalized_item_stays() {
    on(runs::a_finalized_item_stays).await;
}

#[tokio::test]
async fn items_are_paged_by_status() {
    on(runs::items_are_paged_by_status).await;
}

#[tokio::test]
async fn facts_are_unique_by_key_and_contiguous() {
    on(journal::facts_are_unique_by_key_and_contiguous).await;
}

#[tokio::test]
async fn facts_of_a_commit_keep_their_order() {
    on(journal::facts_of_a_commit_keep_their_order).await;
}

#[tokio::test]
async fn a_failed_write_leaves_nothing_of_its_commit() {
    on(journal::a_failed_write_leaves_nothing_of_its_commit).await;
}

#[tokio::test]
async fn a_commit_sent_twice_is_one() {
    on(journal::a_commit_sent_twice_is_one).await;
}

#[tokio::test]
async fn another_tenants_ids_are_not_found() {
    on(tenants::another_tenants_ids_are_not_found).await;
}

#[tokio::test]
async fn the_same_ids_live_in_two_tenants() {
    on(tenants::the_same_ids_live_in_two_tenants).await;
}

#[tokio::test]
async fn a_document_is_issued_once_and_never_changes() {
    on(documents::a_document_is_issued_once_and_never_changes).await;
}

#[tokio::test]
async fn an_account_never_goes_below_zero() {
    on(documents::an_account_never_goes_below_zero).await;
}

#[tokio::test]
async fn postings_re_add_to_balances() {
    on(documents::postings_re_add_to_balances).await;
}

#[tokio::test]
async fn racing_postings_never_overdraw() {
    on(documents::racing_postings_never_overdraw).await;
}

#[tokio::test]
async fn invoices_move_only_where_they_may() {
    on(documents::invoices_move_only_where_they_may).await;
}

#[tokio::test]
async fn settings_are_set_and_removed() {
    on(documents::settings_are_set_and_removed).await;
}

#[tokio::test]
async fn documents_and_accounts_belong_to_one_tenant() {
    on(documents::documents_and_accounts_belong_to_one_tenant).await;
}

#[tokio::test]
async fn a_key_is_found_by_prefix_and_keeps_its_rights() {
    on(access::a_key_is_found_by_prefix_and_keeps_its_rights).await;
}

#[tokio::test]
async fn a_claim_is_made_with_its_effect() {
    on(access::a_claim_is_made_with_its_effect).await;
}

#[tokio::test]
async fn old_claims_and_customer_keys_are_forgotten() {
    on(access::old_claims_and_customer_keys_are_forgotten).await;
}

#[tokio::test]
async fn the_audit_log_is_contiguous() {
    on(access::the_audit_log_is_contiguous).await;
}

#[tokio::test]
async fn append_after_refuses_what_was_decided_too_early() {
    on(access::append_after_refuses_what_was_decided_too_early).await;
}

#[tokio::test]
async fn racing_appends_after_the_same_sight_do_not_pass_a_limit() {
    on(access::racing_appends_after_the_same_sight_do_not_pass_a_limit).await;
}

#[tokio::test]
async fn an_archived_row_keeps_its_place_and_its_seal() {
    on(archive::an_archived_row_keeps_its_place_and_its_seal).await;
}

#[tokio::test]
async fn reads_of_archived_rows_are_refused_and_never_short() {
    on(archive::reads_of_archived_rows_are_refused_and_never_short).await;
}

#[tokio::test]
async fn dedupe_holds_for_archived_rows() {
    on(archive::dedupe_holds_for_archived_rows).await;
}

#[tokio::test]
async fn corrections_of_archived_rows_are_refused() {
    on(archive::corrections_of_archived_rows_are_refused).await;
}

#[tokio::test]
async fn what_is_put_back_is_what_was_there() {
    on(archive::what_is_put_back_is_what_was_there).await;
}

#[tokio::test]
async fn archived_rows_are_a_prefix_of_their_lane() {
    on(archive::archived_rows_are_a_prefix_of_their_lane).await;
}

#[tokio::test]
async fn only_projected_rows_that_are_what_they_say_are_dropped() {
    on(archive::only_projected_rows_that_are_what_they_say_are_dropped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn corrections_that_race_with_an_archiving_are_projected_or_refused() {
    on(archive::corrections_that_race_with_an_archiving_are_projected_or_refused).await;
}

#[tokio::test]
async fn a_lease_has_one_holder_and_a_greater_token_for_each() {
    on(leases::a_lease_has_one_holder_and_a_greater_token_for_each).await;
}

#[tokio::test]
async fn a_lease_is_kept_as_long_as_it_is_renewed() {
    on(leases::a_lease_is_kept_as_long_as_it_is_renewed).await;
}

#[tokio::test]
async fn a_write_behind_a_lost_lease_leaves_nothing() {
    on(leases::a_write_behind_a_lost_lease_leaves_nothing).await;
}

#[tokio::test]
async fn one_of_many_gets_a_lease() {
    on(leases::one_of_many_gets_a_lease).await;
}

#[tokio::test]
async fn many_customers_and_subscriptions_are_found_by_name() {
    on(among::many_customers_and_subscriptions_are_found_by_name).await;
}

#[tokio::test]
async fn summaries_of_many_cycles_are_those_of_each() {
    on(among::summaries_of_many_cycles_are_those_of_each).await;
}

#[tokio::test]
async fn usage_of_many_is_that_of_each() {
    on(among::usage_of_many_is_that_of_each).await;
}

#[tokio::test]
async fn an_effect_is_spread_once() {
    on(outbox::an_effect_is_spread_once).await;
}

#[tokio::test]
async fn a_late_relay_records_nothing() {
    on(outbox::a_late_relay_records_nothing).await;
}

#[tokio::test]
async fn every_attempt_is_kept() {
    on(outbox::every_attempt_is_kept).await;
}

#[tokio::test]
async fn deliveries_of_one_aggregate_keep_their_order() {
    on(outbox::deliveries_of_one_aggregate_keep_their_order).await;
}

#[tokio::test]
async fn relays_at_once_share_the_work() {
    on(outbox::relays_at_once_share_the_work).await;
}

#[tokio::test]
async fn an_alert_fires_once() {
    on(alerts::an_alert_fires_once).await;
}

#[tokio::test]
async fn racing_evaluations_tell_once() {
    on(alerts::racing_evaluations_tell_once).await;
}

#[tokio::test]
async fn alerts_wait_to_be_told_of() {
    on(alerts::alerts_wait_to_be_told_of).await;
}

#[tokio::test]
async fn alerts_are_moved_and_listed() {
    on(alerts::alerts_are_moved_and_listed).await;
}

#[tokio::test]
async fn customers_of_a_stretch_are_found() {
    on(alerts::customers_of_a_stretch_are_found).await;
}

#[tokio::test]
async fn a_job_is_due_once_however_many_schedule_it() {
    on(jobs::a_job_is_due_once_however_many_schedule_it).await;
}

#[tokio::test]
async fn a_run_that_is_done_stays_done() {
    on(jobs::a_run_that_is_done_stays_done).await;
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_changes_no_job() {
    on(jobs::a_worker_that_lost_its_lease_changes_no_job).await;
}

#[tokio::test]
async fn history_is_read_page_by_page() {
    on(jobs::history_is_read_page_by_page).await;
}

#[tokio::test]
async fn items_that_failed_are_kept_until_they_are_dropped() {
    on(jobs::items_that_failed_are_kept_until_they_are_dropped).await;
}
