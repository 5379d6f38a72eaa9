/* signer/handles: who finds a handle, for how long, how often; what leaves when there is no room.
 */
#include "unit.h"

#include "base/err.h"
#include "signer/handles.h"

#include <stdio.h>

#define NOW UINT64_C(1000000)

static const uint8_t ski[FK_SKI_SIZE] = "ski of the first key", other_ski[FK_SKI_SIZE] = "another";

static struct fk_handle_owner owner_of(unsigned number, bool has_signed)
{
    struct fk_handle_owner owner = {.has_signed = has_signed};

    owner.id[0] = (uint8_t)(number >> 8);
    owner.id[1] = (uint8_t)number;
    return owner;
}

static struct fk_handle_binding bind_to(const struct fk_handle_owner *owner)
{
    return (struct fk_handle_binding){.owner = owner, .ski = ski, .stage = FK_HANDLE_SHARE};
}

static union fk_handle_secret secret_of(uint8_t byte)
{
    union fk_handle_secret secret = {.ephemeral = {.group = 23, .private_len = 32}};

    memset(secret.ephemeral.private_value, byte, 32);
    return secret;
}

static struct fk_handles *open_table(void)
{
    struct fk_handles *handles;

    assert_ok(fk_handles_new(7, 0x1234, &handles));
    return handles;
}

static void add(struct fk_handles *handles, const struct fk_handle_owner *owner, uint8_t byte,
                uint64_t now, uint8_t ret[FK_HANDLE_SIZE])
{
    const struct fk_handle_binding binding = bind_to(owner);
    const union fk_handle_secret secret = secret_of(byte);

    assert_ok(fk_handles_add(handles, &binding, &secret, now, ret));
}

static bool finds(struct fk_handles *handles, const uint8_t name[FK_HANDLE_SIZE],
                  const struct fk_handle_owner *owner, uint64_t now)
{
    const struct fk_handle_binding binding = bind_to(owner);

    return fk_handles_find(handles, name, &binding, now) != NULL;
}

static void names_say_whose_they_are(void **state)
{
    const struct fk_handle_owner owner = owner_of(1, false);
    struct fk_handles *handles = open_table();
    uint8_t one[FK_HANDLE_SIZE], two[FK_HANDLE_SIZE];
    uint16_t generation;
    unsigned index;

    (void)state;
    add(handles, &owner, 1, NOW, one);
    add(handles, &owner, 2, NOW, two);
    fk_handle_route(one, &index, &generation);
    assert_int_equal(index, 7);
    assert_int_equal(generation, 0x1234);
    assert_memory_equal(one, two, 3);
    assert_memory_not_equal(one + 3, two + 3, FK_HANDLE_SIZE - 3);
    fk_handles_free(handles);
}

static void taken_once(void **state)
{
    const struct fk_handle_owner owner = owner_of(1, false);
    const struct fk_handle_binding binding = bind_to(&owner);
    struct fk_handles *handles = open_table();
    union fk_handle_secret secret;
    uint8_t name[FK_HANDLE_SIZE];

    (void)state;
    add(handles, &owner, 0x5a, NOW, name);
    assert_int_equal(fk_handles_count(handles), 1);
    assert_ok(fk_handles_take(handles, name, &binding, NOW, &secret));
    assert_int_equal(secret.ephemeral.group, 23);
    assert_int_equal(secret.ephemeral.private_value[31], 0x5a);
    assert_int_equal(fk_handles_count(handles), 0);
    assert_err(fk_handles_take(handles, name, &binding, NOW, &secret), FK_ERR_EXPIRED);
    fk_handles_free(handles);
}

/* Another owner, key, stage or name: not there; and none of these attempts uses it up. */
static void found_by_its_binding_only(void **state)
{
    const struct fk_handle_owner owner = owner_of(1, false), other = owner_of(2, false),
                                 same_but_signed = owner_of(1, true);
    struct fk_handle_binding binding = bind_to(&owner);
    struct fk_handles *handles = open_table();
    union fk_handle_secret secret;
    uint8_t name[FK_HANDLE_SIZE];

    (void)state;
    add(handles, &owner, 1, NOW, name);
    binding.owner = &other;
    assert_err(fk_handles_take(handles, name, &binding, NOW, &secret), FK_ERR_EXPIRED);
    binding.owner = &same_but_signed;
    assert_err(fk_handles_take(handles, name, &binding, NOW, &secret), FK_ERR_EXPIRED);
    binding = bind_to(&owner);
    binding.ski = other_ski;
    assert_err(fk_handles_take(handles, name, &binding, NOW, &secret), FK_ERR_EXPIRED);
    binding = bind_to(&owner);
    binding.stage = FK_HANDLE_FINISHED;
    assert_err(fk_handles_take(handles, name, &binding, NOW, &secret), FK_ERR_EXPIRED);
    binding = bind_to(&owner);
    for (size_t i = 0; i < sizeof name; i++) {
        name[i] ^= 1;
        assert_err(fk_handles_take(handles, name, &binding, NOW, &secret), FK_ERR_EXPIRED);
        name[i] ^= 1;
    }
    assert_ok(fk_handles_take(handles, name, &binding, NOW, &secret));
    fk_handles_free(handles);
}

static void expires(void **state)
{
    const struct fk_handle_owner owner = owner_of(1, false);
    struct fk_handles *handles = open_table();
    uint8_t early[FK_HANDLE_SIZE], late[FK_HANDLE_SIZE];

    (void)state;
    assert_true(fk_handles_expire(handles, NOW) == UINT64_MAX);
    add(handles, &owner, 1, NOW, early);
    add(handles, &owner, 2, NOW + 10, late);
    assert_int_equal(fk_handles_expire(handles, NOW + 1), FK_HANDLE_LIFE_US - 1);
    assert_true(finds(handles, early, &owner, NOW + FK_HANDLE_LIFE_US - 1));
    assert_false(finds(handles, early, &owner, NOW + FK_HANDLE_LIFE_US));
    assert_int_equal(fk_handles_count(handles), 1);
    assert_int_equal(fk_handles_expire(handles, NOW + FK_HANDLE_LIFE_US), 10);
    assert_true(finds(handles, late, &owner, NOW + FK_HANDLE_LIFE_US));
    assert_true(fk_handles_expire(handles, NOW + FK_HANDLE_LIFE_US + 10) == UINT64_MAX);
    assert_int_equal(fk_handles_count(handles), 0);
    fk_handles_free(handles);
}

/* What is found can be changed, and stays so. */
static void found_ones_stay(void **state)
{
    const struct fk_handle_owner owner = owner_of(1, false);
    struct fk_handle_binding binding = bind_to(&owner);
    union fk_handle_secret secret = {.master = {.prf = FK_PRF_SHA384}}, *found;
    struct fk_handles *handles = open_table();
    uint8_t name[FK_HANDLE_SIZE];

    (void)state;
    binding.stage = FK_HANDLE_FINISHED;
    assert_ok(fk_handles_add(handles, &binding, &secret, NOW, name));
    assert_non_null(found = fk_handles_find(handles, name, &binding, NOW));
    assert_false(found->master.first_done);
    found->master.first_done = true;
    assert_non_null(found = fk_handles_find(handles, name, &binding, NOW));
    assert_true(found->master.first_done);
    fk_handles_free(handles);
}

/* An edge with too many loses its own oldest, and nobody else's. */
static void bounded_by_owner(void **state)
{
    const struct fk_handle_owner owner = owner_of(1, false), other = owner_of(2, false);
    static uint8_t names[FK_HANDLES_PER_EDGE + 1][FK_HANDLE_SIZE];
    struct fk_handles *handles = open_table();
    uint8_t others[FK_HANDLE_SIZE];

    (void)state;
    add(handles, &other, 2, NOW, others);
    for (size_t i = 0; i < FK_HANDLES_PER_EDGE; i++)
        add(handles, &owner, 1, NOW, names[i]);
    assert_true(finds(handles, names[0], &owner, NOW));
    add(handles, &owner, 1, NOW, names[FK_HANDLES_PER_EDGE]);
    assert_int_equal(fk_handles_count(handles), FK_HANDLES_PER_EDGE + 1);
    assert_false(finds(handles, names[0], &owner, NOW));
    assert_true(finds(handles, names[1], &owner, NOW));
    assert_true(finds(handles, names[FK_HANDLES_PER_EDGE], &owner, NOW));
    assert_true(finds(handles, others, &other, NOW));
    fk_handles_free(handles);
}

/* A full table: who has any loses one of his own, a newcomer takes the place of the oldest. */
static void bounded_by_all(void **state)
{
    enum { OWNERS = FK_HANDLES_MAX / FK_HANDLES_PER_EDGE };
    struct fk_handles *handles = open_table();
    uint8_t first[OWNERS][FK_HANDLE_SIZE], name[FK_HANDLE_SIZE];
    struct fk_handle_owner owners[OWNERS + 1];

    (void)state;
    for (unsigned o = 0; o < OWNERS; o++) {
        owners[o] = owner_of(o, false);
        add(handles, &owners[o], 1, NOW, first[o]);
        for (size_t i = 1; i < FK_HANDLES_PER_EDGE - (o == 1); i++)
            add(handles, &owners[o], 1, NOW, name);
    }
    owners[OWNERS] = owner_of(OWNERS, false);
    add(handles, &owners[OWNERS], 1, NOW, name);
    assert_int_equal(fk_handles_count(handles), FK_HANDLES_MAX);
    assert_true(finds(handles, first[0], &owners[0], NOW));
    add(handles, &owners[1], 1, NOW, name); /* full; it has fewer than an edge may have */
    assert_int_equal(fk_handles_count(handles), FK_HANDLES_MAX);
    assert_false(finds(handles, first[1], &owners[1], NOW));
    owners[OWNERS] = owner_of(OWNERS + 1, false);
    add(handles, &owners[OWNERS], 1, NOW, name);
    assert_int_equal(fk_handles_count(handles), FK_HANDLES_MAX);
    assert_false(finds(handles, first[0], &owners[0], NOW));
    assert_true(finds(handles, first[2], &owners[2], NOW));
    fk_handles_free(handles);
}

/* Owners without handles do not count; with them there are so many and no more. */
static void owners_are_bounded(void **state)
{
    const union fk_handle_secret secret = secret_of(1);
    struct fk_handle_owner owner = owner_of(0, false);
    struct fk_handle_binding binding = bind_to(&owner);
    struct fk_handles *handles = open_table();
    uint8_t name[FK_HANDLE_SIZE];

    (void)state;
    for (unsigned o = 0; o < FK_HANDLE_OWNERS_MAX; o++) {
        owner = owner_of(o, false);
        add(handles, &owner, 1, NOW, name);
    }
    owner = owner_of(FK_HANDLE_OWNERS_MAX, false);
    assert_err(fk_handles_add(handles, &binding, &secret, NOW, name), FK_ERR_LIMIT);
    assert_int_equal(fk_handles_count(handles), FK_HANDLE_OWNERS_MAX);
    assert_ok(fk_handles_add(handles, &binding, &secret, NOW + FK_HANDLE_LIFE_US, name));
    assert_int_equal(fk_handles_count(handles), 1);
    fk_handles_free(handles);
}

UNIT_MAIN(cmocka_unit_test(names_say_whose_they_are), cmocka_unit_test(taken_once),
          cmocka_unit_test(found_by_its_binding_only), cmocka_unit_test(expires),
          cmocka_unit_test(found_ones_stay), cmocka_unit_test(bounded_by_owner),
          cmocka_unit_test(bounded_by_all), cmocka_unit_test(owners_are_bounded))
