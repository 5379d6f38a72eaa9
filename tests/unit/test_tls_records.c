/* wire/records: where records end, and whether a flight is whole. */
#include "unit.h"

#include "base/err.h"
#include "wire/records.h"

#define CCS       "\x14\x03\x03\x00\x01\x01"
#define FINISHED  "\x16\x03\x03\x00\x02\xaa\xbb"
#define ALERT     "\x15\x03\x03\x00\x02\x02\x28"
#define DATA      "\x17\x03\x03\x00\x03\x01\x02\x03"
#define EMPTY     "\x17\x03\x03\x00\x00"
#define ROW(text) text, sizeof(text) - 1

static const struct {
    const char *bytes;
    size_t len, whole, clear;
    bool flight, pending_ccs;
    int err;
} rows[] = {
    {ROW(""), 0, 0, false, false, FK_OK},
    {ROW(FINISHED), 7, 7, false, false, FK_OK},
    {ROW(FINISHED FINISHED), 14, 14, false, false, FK_OK},
    {ROW(CCS), 6, 0, false, true, FK_OK},
    {ROW(FINISHED CCS), 13, 7, false, true, FK_OK},
    {ROW(FINISHED CCS FINISHED), 20, 7, true, false, FK_OK},
    {ROW(CCS DATA), 14, 0, true, false, FK_OK},
    {ROW(CCS CCS), 12, 0, false, true, FK_OK},
    {ROW(ALERT), 7, 7, true, false, FK_OK},
    {ROW(DATA EMPTY), 13, 13, false, false, FK_OK},
    {ROW(FINISHED "\x16\x03\x03\x00\x02\xaa"), 7, 7, false, false, FK_OK},
    {ROW(FINISHED "\x16\x03"), 7, 7, false, false, FK_OK},
    {ROW(FINISHED "G"), 7, 7, false, false, FK_ERR_NOT_TLS},
    {ROW("\x18\x03\x03\x00\x01\x01"), 0, 0, false, false, FK_ERR_NOT_TLS},
    {ROW("\x13"), 0, 0, false, false, FK_ERR_NOT_TLS},
    {ROW("\x16\x02"), 0, 0, false, false, FK_ERR_NOT_TLS},
    {ROW("\x16\x03\x01\x48\x00"), 0, 0, false, false, FK_OK}, /* 16384 + 2048: it may come */
    {ROW("\x16\x03\x01\x48\x01"), 0, 0, false, false, FK_ERR_LIMIT},
};

static void each_row(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fk_records found;

        assert_err(fk_records_scan((struct fk_reader){(const uint8_t *)rows[i].bytes, rows[i].len},
                                   &found),
                   rows[i].err);
        assert_int_equal(found.whole, rows[i].whole);
        assert_int_equal(found.clear, rows[i].clear);
        assert_int_equal(found.flight, rows[i].flight);
        assert_int_equal(found.pending_ccs, rows[i].pending_ccs);
    }
}

UNIT_MAIN(cmocka_unit_test(each_row))
