import { start, shots } from "./rig.mjs";
import { seed } from "./jobs.mjs";
const rig = await start();
try {
  await seed(rig);
  for (const [name, path] of [["overview","/"],["jobs","/ui/jobs"],["job","/ui/jobs/flights"],["patch","/ui/jobs/patched"],["network","/ui/jobs/network"],["approval","/ui/jobs/wants-approval"],["planned","/ui/jobs/planned"],["words","/ui/jobs/words"],["dead","/ui/dead"],["agents","/ui/agents"],["playground","/ui/playground"],["hostile","/ui/jobs/hostile"]]) {
    const page = await rig.open(path);
    await page.screenshot({ path: `${shots}/try-${name}.png`, fullPage: true });
    await page.finish().catch((e) => console.log(String(e)));
  }
} finally { await rig.stop(); }
