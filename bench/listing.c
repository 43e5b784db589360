/* Counts the objects of a pool with librados alone: the least that a listing costs.
 *
 * cc -O2 -o listing listing.c -lrados && ./listing CONF USER KEYRING POOL
 *
 * Prints the number of objects. The exit status is 1 if a call failed. */

#include <rados/librados.h>
#include <stdio.h>

int main(int count, char **words)
{
    rados_t cluster;
    rados_ioctx_t pool;
    rados_list_ctx_t listing;
    const char *name, *key, *space;
    unsigned long objects = 0;

    if (count != 5 || rados_create(&cluster, words[2]) < 0 || rados_conf_read_file(cluster, words[1]) < 0 ||
        rados_conf_set(cluster, "keyring", words[3]) < 0 || rados_connect(cluster) < 0)
        return 1;
    if (rados_ioctx_create(cluster, words[4], &pool) < 0 || rados_nobjects_list_open(pool, &listing) < 0)
        return 1;
    while (rados_nobjects_list_next(listing, &name, &key, &space) == 0)
        objects++;
    rados_nobjects_list_close(listing);
    rados_ioctx_destroy(pool);
    rados_shutdown(cluster);
    printf("%lu\n", objects);
    return 0;
}
