/* Times as HTTP writes them: see date.h. */
#include "http/date.h"

#include "base/err.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define DAY 86400

static const char *const days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                   "Thursday", "Friday", "Saturday"};
static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const uint8_t month_days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

struct date {
    int year, month, day; /* month: 0 is January */
    int hour, minute, second;
    bool short_year;
};

/*
 * The three forms. a, A: a day's name, short or whole; d: day of two digits; e: the same with a
 * space for its zero; b: a month's name; Y, y: year of four or two digits; T: time of day. All else
 * stands for itself.
 */
static const char *const forms[] = {"a, d b Y T GMT", "A, d-b-y T GMT", "a b e T Y"};

/* --- the calendar: days since 1970 of the proleptic Gregorian one --- */

static bool is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Days before 1 January of a year from 0 on, counted from 1 January 0. */
static int64_t days_before(int year)
{
    int64_t past = year - 1;

    return year == 0 ? 0 : past * 365 + past / 4 - past / 100 + past / 400 + 366;
}

static int days_in(int year, int month)
{
    return month == 1 && !is_leap(year) ? 28 : month_days[month];
}

static int64_t days_of(const struct date *date)
{
    int64_t n = days_before(date->year) - days_before(1970) + date->day - 1;

    for (int month = 0; month < date->month; month++)
        n += days_in(date->year, month);
    return n;
}

/* --- reading --- */

/* `n` digits as a number. */
static bool read_digits(struct fk_reader *text, int n, int *ret)
{
    int value = 0;
    uint8_t c;

    for (int i = 0; i < n; i++) {
        if (fk_reader_u8(text, &c) != FK_OK || c < '0' || c > '9')
            return false;
        value = value * 10 + (c - '0');
    }
    *ret = value;
    return true;
}

/* `len` bytes of one of the names (0: the whole name); names are case-sensitive. */
static bool read_name(struct fk_reader *text, const char *const *names, int n, size_t len, int *ret)
{
    for (int i = 0; i < n; i++) {
        size_t most = len == 0 ? strlen(names[i]) : len;

        if (text->left < most || memcmp(text->next, names[i], most) != 0)
            continue;
        *ret = i;
        return fk_reader_skip(text, most) == FK_OK;
    }
    return false;
}

static bool read_char(struct fk_reader *text, char wanted)
{
    uint8_t c;

    return fk_reader_u8(text, &c) == FK_OK && c == (uint8_t)wanted;
}

static bool read_time(struct fk_reader *text, struct date *date)
{
    return read_digits(text, 2, &date->hour) && read_char(text, ':') &&
           read_digits(text, 2, &date->minute) && read_char(text, ':') &&
           read_digits(text, 2, &date->second);
}

static bool read_piece(struct fk_reader *text, char piece, struct date *date)
{
    int weekday;

    switch (piece) {
    case 'a':
        return read_name(text, days, 7, 3, &weekday);
    case 'A':
        return read_name(text, days, 7, 0, &weekday);
    case 'b':
        return read_name(text, months, 12, 3, &date->month);
    case 'd':
        return read_digits(text, 2, &date->day);
    case 'e':
        if (text->left == 0 || text->next[0] != ' ')
            return read_digits(text, 2, &date->day);
        return read_char(text, ' ') && read_digits(text, 1, &date->day);
    case 'Y':
        return read_digits(text, 4, &date->year);
    case 'y':
        date->short_year = true;
        return read_digits(text, 2, &date->year);
    case 'T':
        return read_time(text, date);
    default:
        return read_char(text, piece);
    }
}

static bool read_form(struct fk_reader text, const char *form, struct date *ret)
{
    struct date date = {0};

    /* "GMT" stands for itself: none of its letters is a piece but T, which ends the form. */
    for (const char *p = form; *p != '\0'; p++) {
        if (strcmp(p, "GMT") == 0) {
            if (text.left != 3 || memcmp(text.next, "GMT", 3) != 0)
                return false;
            *ret = date;
            return true;
        }
        if (!read_piece(&text, *p, &date))
            return false;
    }
    if (fk_reader_end(&text) != FK_OK)
        return false;
    *ret = date;
    return true;
}

/* 23:59:60 is a leap second. */
static bool exists(const struct date *date)
{
    return date->day >= 1 && date->day <= days_in(date->year, date->month) && date->hour <= 23 &&
           date->minute <= 59 && date->second <= 60;
}

static int64_t seconds_of(const struct date *date)
{
    return days_of(date) * DAY + date->hour * 3600 + date->minute * 60 + date->second;
}

static int year_of(int64_t seconds)
{
    int year = 1970 + (int)(seconds / DAY / 366); /* a lower bound */

    while ((days_before(year + 1) - days_before(1970)) * DAY <= seconds)
        year++;
    return year;
}

int fk_http_date_parse(struct fk_reader text, int64_t now, int64_t *ret)
{
    struct date date;

    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (!read_form(text, forms[i], &date))
            continue;
        if (date.short_year) {
            int this_year = year_of(now < 0 ? 0 : now);

            date.year += this_year - this_year % 100;
            if (date.year > this_year + 50)
                date.year -= 100;
        }
        if (!exists(&date))
            return FK_ERR_FORMAT;
        *ret = seconds_of(&date);
        return FK_OK;
    }
    return FK_ERR_FORMAT;
}

/* --- writing --- */

void fk_http_date_format(int64_t seconds, char dst[FK_HTTP_DATE_SIZE])
{
    int64_t least = -days_before(1970) * DAY;
    int64_t most = (days_before(10000) - days_before(1970)) * DAY - 1;
    int64_t at = seconds < least ? least : seconds > most ? most : seconds;
    int64_t since = at - least, day = since / DAY, second = since % DAY;
    const char *weekday = days[(day + 6) % 7]; /* 1 January 0 was a Saturday */
    int year = (int)(day / 366), month = 0;

    while (days_before(year + 1) <= day)
        year++;
    day -= days_before(year);
    while (day >= days_in(year, month))
        day -= days_in(year, month++);
    snprintf(dst, FK_HTTP_DATE_SIZE, "%.3s, %02u %s %04u %02u:%02u:%02u GMT", weekday,
             (unsigned)(day + 1) % 100, months[month], (unsigned)year % 10000,
             (unsigned)(second / 3600) % 100, (unsigned)(second / 60 % 60),
             (unsigned)(second % 60));
}
