/* What can be wrong with a peer's HTTP: see fault.h. */
#include "http/fault.h"

static const struct {
    const char *name;
    const char *text;
    int status;
} faults[] = {
#define FK_HTTP_FAULT_ROW(name, status, text) {#name, text, status},
    FK_HTTP_FAULT_LIST(FK_HTTP_FAULT_ROW)
#undef FK_HTTP_FAULT_ROW
};

const char *fk_http_fault_name(enum fk_http_fault fault)
{
    return (unsigned)fault < FK_HTTP_FAULT_COUNT ? faults[fault].name : "UNKNOWN";
}

const char *fk_http_fault_text(enum fk_http_fault fault)
{
    return (unsigned)fault < FK_HTTP_FAULT_COUNT ? faults[fault].text : "unknown fault";
}

int fk_http_fault_status(enum fk_http_fault fault)
{
    return (unsigned)fault < FK_HTTP_FAULT_COUNT ? faults[fault].status : 500;
}
