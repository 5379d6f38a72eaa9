/* Commands and replies by hiredis: see resp.h. */
#include "edge/resp.h"

#include "base/err.h"

#include <hiredis.h>
#include <stdlib.h>
#include <string.h>

/* Of a reply that is not whole: the longest string, and the lines around it. */
#define PENDING_MAX (FK_SESENTRY_MAX + 64)

struct fk_resp {
    redisReader *reader;
    struct fk_resp_reply reply; /* the one that hiredis builds; there is one at a time */
};

/* --- hiredis builds a reply --- */

static struct fk_resp_reply *reply_of(const redisReadTask *task)
{
    struct fk_resp *resp = task->privdata;

    return &resp->reply;
}

static void *on_string(const redisReadTask *task, char *text, size_t len)
{
    struct fk_resp_reply *reply = reply_of(task);

    if (len > sizeof reply->data && task->type == REDIS_REPLY_STRING)
        return NULL;
    reply->kind = task->type == REDIS_REPLY_STRING  ? FK_RESP_STRING
                  : task->type == REDIS_REPLY_ERROR ? FK_RESP_ERROR
                                                    : FK_RESP_STATUS;
    reply->len = len < sizeof reply->data ? len : sizeof reply->data;
    memcpy(reply->data, text, reply->len);
    return reply;
}

/* Nothing that we ask is answered by an array: no memory for one, of whatever size. */
static void *on_array(const redisReadTask *task, int count)
{
    (void)task, (void)count;
    return NULL;
}

static void *on_number(const redisReadTask *task, long long number)
{
    struct fk_resp_reply *reply = reply_of(task);

    (void)number;
    reply->kind = FK_RESP_NUMBER;
    reply->len = 0;
    return reply;
}

static void *on_nil(const redisReadTask *task)
{
    struct fk_resp_reply *reply = reply_of(task);

    reply->kind = FK_RESP_NIL;
    reply->len = 0;
    return reply;
}

static void forget(void *object)
{
    (void)object; /* a part of struct fk_resp */
}

/* --- replies --- */

int fk_resp_new(struct fk_resp **ret)
{
    static redisReplyObjectFunctions functions = {.createString = on_string,
                                                  .createArray = on_array,
                                                  .createInteger = on_number,
                                                  .createNil = on_nil,
                                                  .freeObject = forget};
    struct fk_resp *resp = calloc(1, sizeof *resp);

    if (resp == NULL)
        return FK_ERR_NOMEM;
    if ((resp->reader = redisReaderCreateWithFunctions(&functions)) == NULL) {
        free(resp);
        return FK_ERR_NOMEM;
    }
    resp->reader->privdata = resp;
    *ret = resp;
    return FK_OK;
}

void fk_resp_free(struct fk_resp *resp)
{
    if (resp == NULL)
        return;
    redisReaderFree(resp->reader);
    free(resp);
}

int fk_resp_feed(struct fk_resp *resp, const void *data, size_t len)
{
    if (resp->reader->err != 0)
        return FK_ERR_FORMAT;
    return redisReaderFeed(resp->reader, data, len) == REDIS_OK ? FK_OK : FK_ERR_NOMEM;
}

int fk_resp_next(struct fk_resp *resp, const struct fk_resp_reply **ret)
{
    void *reply = NULL;

    if (redisReaderGetReply(resp->reader, &reply) != REDIS_OK)
        return FK_ERR_FORMAT;
    if (reply != NULL) {
        *ret = reply;
        return FK_OK;
    }
    return resp->reader->len - resp->reader->pos > PENDING_MAX ? FK_ERR_FORMAT : FK_ERR_AGAIN;
}

/* --- commands --- */

int fk_resp_command(struct fk_buf *out, const struct fk_resp_arg *args, size_t count)
{
    const char *texts[FK_RESP_ARGS_MAX];
    size_t lens[FK_RESP_ARGS_MAX];
    char *bytes;
    int len, err;

    if (count > FK_RESP_ARGS_MAX)
        return FK_ERR_LIMIT;
    for (size_t i = 0; i < count; i++) {
        texts[i] = args[i].data;
        lens[i] = args[i].len;
    }
    len = redisFormatCommandArgv(&bytes, (int)count, texts, lens);
    if (len < 0)
        return FK_ERR_NOMEM;
    err = fk_buf_append(out, bytes, (size_t)len);
    redisFreeCommand(bytes);
    return err;
}
