import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.*;
import java.nio.file.*;
import java.util.*;
import java.util.stream.*;

/** Flink SQL peer: kafka -> json -> built-in functions -> kafka with exactly-once; a mini cluster in one JVM. */
public class Customs {
    static String e(String k, String d) { String v = System.getenv(k); return v == null ? d : v; }
    static String row(String r) {
        String h = "'douane-peer-key-0123456789abcdef'";
        String notes = "REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(REGEXP_REPLACE(" + r + ".notes, '[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\\.[A-Za-z]{2,}', '[EMAIL]'), '\\b[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}\\b', '[IBAN]'), '\\+[0-9][0-9 ]{7,16}[0-9]', '[PHONE]'), '\\b[0-9]{13,19}\\b', '[CARD]')";
        return "CASE WHEN " + r + " IS NULL THEN NULL ELSE ROW(SHA256(CONCAT(" + h + ", CAST(" + r + ".id AS STRING))), SHA256(CONCAT(" + h + ", " + r + ".email)), SHA256(CONCAT(" + h + ", " + r + ".phone)), CONCAT('***********', SUBSTRING(" + r + ".card_number FROM 13)), CAST('REDACTED' AS STRING), " + r + ".city, " + r + ".country, 1970 + CAST(FLOOR(" + r + ".birth_date / 365.2425) AS INT), " + notes + ", " + r + ".balance_cents, " + r + ".updated_at) END";
    }
    static final String OUT = "ROW<id STRING, email STRING, phone STRING, card_number STRING, full_name STRING, city STRING, country STRING, birth_date INT, notes STRING, balance_cents BIGINT, updated_at BIGINT>";
    public static void main(String[] a) throws Exception {
        String group = e("GROUP", "flink"), cp = Paths.get(e("STATE", "ckpt"), group).toAbsolutePath().toString();
        Files.createDirectories(Paths.get(cp));
        Configuration c = new Configuration();
        c.setString("parallelism.default", "2"); c.setString("execution.checkpointing.interval", e("CKPT", "5s")); c.setString("execution.checkpointing.dir", "file://" + cp);
        c.setString("execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION"); c.setString("table.exec.sink.not-null-enforcer", "ERROR");
        c.setString("taskmanager.memory.managed.size", "64m"); c.setString("pipeline.object-reuse", "true"); c.setString("table.exec.source.idle-timeout", "0"); c.setString("restart-strategy.type", "none");
        c.setString("taskmanager.numberOfTaskSlots", "2"); c.setString("rest.bind-port", "0"); c.setString("state.backend.type", "hashmap");
        try (Stream<Path> s = Files.walk(Paths.get(cp))) {
            Optional<Path> last = s.filter(p -> p.getFileName().toString().equals("_metadata")).map(Path::getParent).max(Comparator.comparingLong(p -> p.toFile().lastModified()));
            if (last.isPresent()) { System.out.println("restore from " + last.get()); c.setString("execution.state-recovery.path", "file://" + last.get()); }
        }
        TableEnvironment t = TableEnvironment.create(EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(c).build());
        String in = "ROW<id BIGINT, email STRING, phone STRING, national_id STRING, card_number STRING, full_name STRING, street STRING, city STRING, country STRING, birth_date INT, notes STRING, balance_cents BIGINT, updated_at BIGINT>";
        t.executeSql("CREATE TABLE src (k_id BIGINT, `before` " + in + ", `after` " + in + ", source ROW<db STRING, `table` STRING, ts_ms BIGINT>, op STRING) WITH ('connector'='kafka','topic'='" + e("SRC_TOPIC", "crm.public.customers") + "','properties.bootstrap.servers'='" + e("SRC", "127.0.0.1:19092") + "','properties.group.id'='" + group + "','scan.startup.mode'='earliest-offset','key.format'='json','key.fields'='k_id','key.fields-prefix'='k_','value.format'='json','value.fields-include'='EXCEPT_KEY','value.json.ignore-parse-errors'='" + e("IGNORE_ERRORS", "false") + "')");
        t.executeSql("CREATE TABLE dst (k_id STRING, `before` " + OUT + ", `after` " + OUT + ", source ROW<db STRING, `table` STRING, ts_ms BIGINT>, op STRING) WITH ('connector'='kafka','topic'='" + e("DST_TOPIC", "x") + "','properties.bootstrap.servers'='" + e("DST", "127.0.0.1:29092") + "','key.format'='json','key.fields'='k_id','key.fields-prefix'='k_','value.format'='json','value.fields-include'='EXCEPT_KEY','properties.compression.type'='lz4','properties.linger.ms'='20','properties.batch.size'='262144','properties.transaction.timeout.ms'='600000','sink.delivery-guarantee'='exactly-once','sink.transactional-id-prefix'='" + group + "')");
        t.executeSql("CREATE TEMPORARY VIEW v AS SELECT SHA256(CONCAT('douane-peer-key-0123456789abcdef', CAST(k_id AS STRING))) AS k_id, " + row("`before`") + " AS b, " + row("`after`") + " AS a, source, op FROM src");
        t.executeSql("INSERT INTO dst SELECT * FROM v").await();
    }
}
